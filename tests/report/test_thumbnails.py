from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dispose_stages.artifacts import Frame
from dispose_stages.report.content import Picture
from dispose_stages.report.thumbnails import (
    HEIGHT,
    MAX_WIDTH,
    motion_picture,
    picture,
    pose_overlay,
    thumbnail_size,
)


def pixels(shown: Picture) -> np.ndarray:
    """What a browser shows."""
    image = np.asarray(Image.open(io.BytesIO(shown.data)).convert("RGB"))
    assert image.shape == (shown.height, shown.width, 3)
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (HEIGHT, 186)), ((100, 4000), (16, MAX_WIDTH)), ((1, 1), (HEIGHT, HEIGHT))],
)
def test_proportions_are_kept(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """As high as all others, unless that makes it too wide; never empty."""
    assert thumbnail_size(*size) == expected
    assert min(thumbnail_size(1, 9000)) >= 1


def test_pictures_look_like_the_image() -> None:
    """Colours survive scaling and compression."""
    image = np.zeros((400, 300, 3), np.uint8)
    image[:200] = (200, 60, 40)
    shown = pixels(picture(image, "two halves"))
    np.testing.assert_allclose(shown[60, 100], (200, 60, 40), atol=12)
    np.testing.assert_allclose(shown[300, 100], 0, atol=12)
    assert len(picture(image, "").data) < 8_000


def test_poses_are_drawn_on_the_darkened_frame() -> None:
    """Limbs shine over the frame where the pose is; elsewhere the frame is darker than it was."""
    keypoints = np.full((1, 134, 2), -1.0)
    scores = np.zeros((1, 134))
    keypoints[0, 1], keypoints[0, 2] = (0.5, 0.5), (0.2, 0.5)
    scores[0, 1:3] = 1.0
    frame = Frame(keypoints, scores, np.zeros((1, 4)), np.ones(1))
    image = np.full((600, 400, 3), 100, np.uint8)
    shown = pose_overlay(image, frame)
    height, width = shown.shape[:2]
    assert (height, width) == thumbnail_size(600, 400)
    assert shown[height // 2, int(width * 0.35)].max() > 120
    np.testing.assert_array_equal(shown[20, 20], 55)


def test_motion_has_the_proportions_of_the_target() -> None:
    """A square grid is stretched to the video's shape; directions have different colours."""
    flow = np.zeros((2, 64, 64), np.float32)
    flow[0, :, 32:] = 9.0
    flow[0, :, :32] = -9.0
    shown = pixels(motion_picture(flow, 1024, 576, "motion"))
    assert shown.shape[:2] == thumbnail_size(1024, 576)
    left, right = shown[100, 20].astype(int), shown[100, -20].astype(int)
    assert right[0] > right[2] + 100
    assert left[2] > left[0] + 100
