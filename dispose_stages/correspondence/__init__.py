"""Diffusion features of the reference at its keypoints."""

REVISION = 1
"""Raised when the features this stage computes change."""
