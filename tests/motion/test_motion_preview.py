from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.geometry.colour_wheel import flow_colours
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.motion.preview import preview_motion

HEIGHT, WIDTH = 128, 192


def motion_field(dx: float) -> MotionField:
    """One keypoint that moves to the right, and a dense field that does so everywhere."""
    frames = []
    for index in range(4):
        keypoints, scores = np.zeros((1, 134, 2)), np.zeros((1, 134))
        keypoints[0, 3] = 0.3 + index * dx / WIDTH, 0.5
        scores[0, 3] = 1.0
        frames.append(Frame(keypoints, scores, np.zeros((1, 4)), np.ones(1)))
    flow = np.zeros((3, 2, 192, 192))
    flow[:, 0] = 10.0
    return MotionField(
        poses=PoseTrack.from_frames(frames, [-1, 0, 1, 2], HEIGHT, WIDTH, 24.0),
        person=np.zeros(4, dtype=np.int64),
        cmp_flow=to_fixed_point(flow),
        height=HEIGHT,
        width=WIDTH,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        residual=0.0,
    )


def test_both_fields_show_the_motion() -> None:
    """A row per frame: red where the motion is to the right, an arrow, a legend."""
    picture = preview_motion(motion_field(6.0), [0, 2], compat="official")
    assert picture.shape == (2 * HEIGHT + 4, 2 * WIDTH + 4, 3)
    assert picture.dtype == np.uint8
    red = flow_colours(np.array([1.0, 0.0])[:, None, None], 1.0)[0, 0]
    assert (picture[5, WIDTH + 10] == red).all()
    left = picture[:HEIGHT, :WIDTH]
    row, column = HEIGHT // 2, int(0.3 * WIDTH)
    assert (left[row - 8, column] == [255, *left[row - 8, column, 1:]]).all()
    assert left[row - 8, column, 1] < 60
    assert (left[row, column + 1] < 100).all()  # the arrow
    assert (left[:8, -8:] > 245).all()  # far from the keypoint: nearly white


def test_unknown_frame_is_refused() -> None:
    """Frames count from 0 to the last driving frame."""
    with pytest.raises(ValueError, match="0 to 2"):
        preview_motion(motion_field(1.0), [3], compat="official")
