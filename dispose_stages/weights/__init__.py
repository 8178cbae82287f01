"""Where checkpoint files lie, whether they are all there, and their digests; no torch."""
