"""Latents to video files: temporal VAE decoding, streamed into the encoder."""

REVISION = 1
"""Raised when the pixels this stage computes change."""
