from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.drawing import Raster, draw_body, draw_pose
from tests.geometry.plain_drawing import plain_body, plain_pose

TARGETS = [
    (1024, 576), (576, 1024), (576, 576), (192, 128), (64, 64), (768, 448), (320, 512),
    (1152, 640), (832, 1472), (2160, 2160), (1080, 1920), (300, 201), (2304, 2304),
]  # fmt: skip


def crowd(seed, persons, low=0.2, high=0.8):
    """Random keypoints and scores, some below every threshold, some above 1."""
    rng = np.random.default_rng(seed)
    return Frame(
        rng.uniform(low, high, (persons, 134, 2)),
        rng.uniform(-0.05, 1.1, (persons, 134)),
        np.zeros((persons, 4)),
        np.ones(persons),
    )


@pytest.mark.parametrize(("height", "width"), TARGETS)
def test_pixels_are_those_of_the_definition(height, width):
    """Every pixel, for one person and for several, at periodic and awkward scales."""
    for seed, persons in ((0, 1), (1, 3)):
        frame = crowd(seed, persons)
        assert np.array_equal(draw_pose(frame, height, width), plain_pose(frame, height, width))


@pytest.mark.parametrize("seed", range(6))
def test_pixels_agree_at_and_beyond_the_border(seed):
    """Points outside the image, and a small figure in a corner."""
    for frame in (crowd(seed, 2, -0.4, 1.4), crowd(seed, 1, -0.01, 0.05), crowd(seed, 1, 0.95, 1)):
        assert np.array_equal(draw_pose(frame, 192, 128), plain_pose(frame, 192, 128))


def test_untouched_blocks_are_skipped():
    """A small figure leaves most of the canvas alone; else nothing would be gained."""
    raster = Raster.for_target(1024, 576)
    draw_body(raster, crowd(3, 1, 0.4, 0.5))
    assert 0 < sum(last - first for _, first, last in raster._runs()) < 30
    assert raster.touched.size == 576


def test_far_away_points_draw_nothing():
    """Coordinates that an OpenCV call could not even take."""
    frame = crowd(4, 1, 1e7, 1e8)
    assert not draw_pose(frame, 192, 128).any()


def test_nobody_is_black():
    """No persons: a black image of the right shape."""
    frame = Frame(np.zeros((0, 134, 2)), np.zeros((0, 134)), np.zeros((0, 4)), np.zeros(0))
    raster = draw_pose(frame, 192, 128)
    assert raster.shape == (3, 192, 128)
    assert raster.dtype == np.uint8
    assert not raster.any()


def test_body_layer_on_a_canvas_of_its_own_size():
    """Without resizing, dimming colours equals dimming the canvas."""
    frame = crowd(5, 2)
    raster = Raster((640, 480))
    draw_body(raster, frame)
    assert np.array_equal(raster.image, plain_body(np.zeros((640, 480, 3), np.uint8), frame))


def test_hands_are_drawn_however_unsure():
    """Only body keypoints have a threshold (Q16)."""
    frame = crowd(6, 1)
    frame.scores[:] = 0.05
    assert draw_pose(frame, 192, 128).any()
    frame.scores[:, 24:] = 0.0
    assert not draw_pose(frame, 192, 128).any()
