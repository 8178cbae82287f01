"""Checkpoint files: where they belong, checking, opening, converting, loading into networks."""
