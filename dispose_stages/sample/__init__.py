"""Diffusion sampling: from poses, motion fields and correspondence to latents (paper section 3)."""

REVISION = 1
"""Raised when the numbers this stage computes change."""
