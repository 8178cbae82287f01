"""Artifacts on disk, and media in and out."""
