"""Diffusion features of the reference at its keypoints."""
