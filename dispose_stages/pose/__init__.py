"""Stage `pose`: whole-body keypoints of images and videos (algorithm §2)."""
