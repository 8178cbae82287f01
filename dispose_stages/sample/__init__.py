"""Diffusion sampling: from poses, motion fields and correspondence to latents (paper section 3)."""
