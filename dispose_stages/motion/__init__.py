"""Alignment of the driver to the reference, and the motion fields of a pair."""

REVISION = 1
"""Raised when the fields this stage computes change."""
