"""Around DWPose's networks: frames to boxes, boxes to keypoints, as pure functions and a stream."""
