"""Alignment of the driver to the reference, and the motion fields of a pair."""
