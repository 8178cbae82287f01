"""Latents to video files: temporal VAE decoding, streamed into the encoder."""
