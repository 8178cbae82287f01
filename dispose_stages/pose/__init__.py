"""Stage `pose`: whole-body keypoints of images and videos (algorithm §2)."""

REVISION = 1
"""Raised when the keypoints this stage computes change."""
