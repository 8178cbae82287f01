"""A procedural world: articulated figures with known keypoints, boxes and dense flow."""
