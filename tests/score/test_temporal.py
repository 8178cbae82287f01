from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from dispose_stages.score import temporal


def picture(height=160, width=224, seed=0):
    """Smooth texture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def moved(image, dx, dy):
    matrix = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def test_flicker_is_the_mean_difference_of_two_frames():
    """Values in [0, 1]."""
    a, b = picture(), picture(seed=1)
    assert temporal.flicker(a, b) == pytest.approx(np.abs(a / 255.0 - b / 255.0).mean())
    assert temporal.flicker(a, a) == 0


def test_flow_finds_a_shift():
    """(dx, dy), in pixels, from the first frame to the second."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (picture(), moved(picture(), 5, -3))]
    flow = temporal.optical_flow(*grey)[40:-40, 40:-40]
    assert np.abs(np.median(flow, axis=(0, 1)) - (5, -3)).max() < 0.2


def test_warping_error_forgives_motion_and_no_change_of_brightness():
    """A shift costs little, though it flickers; a change of brightness costs what it is."""
    image = picture()
    shifted, brighter = moved(image, 6, 2), np.clip(image + 20.0, 0, 255).astype(np.uint8)
    assert temporal.warping_error(image, shifted) < 0.1 * temporal.flicker(image, shifted)
    assert temporal.warping_error(image, brighter) == pytest.approx(
        temporal.flicker(image, brighter), rel=0.2
    )
    assert temporal.warping_error(image, image) == 0


def test_only_consistent_pixels_count():
    """Back where they came from within half a pixel, and inside the frame."""
    there = np.zeros((30, 40, 2), np.float32)
    there[..., 0] = 3
    target = there + temporal._grid(30, 40)
    agreed = temporal._consistent(there, -there, target)
    assert agreed[:, :-3].all()
    assert not agreed[:, -3:].any()
    assert not temporal._consistent(there, -there + 0.6, target).any()


def test_a_frame_without_agreement_or_too_small_has_no_value(monkeypatch):
    """Nan, not zero."""
    tiny = np.zeros((20, 20, 3), np.uint8)
    assert math.isnan(temporal.warping_error(tiny, tiny))
    monkeypatch.setattr(
        temporal, "optical_flow", lambda a, _: np.full((*a.shape, 2), 5.0, np.float32)
    )
    assert math.isnan(temporal.warping_error(picture(), picture()))


def test_borders_of_tiles():
    """Where tiles begin and end, counted in steps of the video, which lacks the reference."""
    tiles = [[0, 1, 2, 3], [0, 3, 4, 5], [0, 4, 5, 6]]
    assert temporal.tile_borders(tiles).tolist() == [False, True, True, False, True]
    assert temporal.tile_borders([[0, 1, 2], [0, 3, 4]]).tolist() == [False, True, False]
    assert temporal.tile_borders([[0, 1, 2, 3]]).tolist() == [False, False]
    assert temporal.tile_borders([[0, 1]]).tolist() == []


def test_seam():
    """Means at the borders and elsewhere; no border, no seam; nan steps do not count."""
    steps = np.array([1.0, 5.0, 2.0, np.nan])
    seam = temporal.seam(steps, np.array([False, True, False, True]))
    assert (seam.at_borders, seam.elsewhere, seam.excess) == (5.0, 1.5, 3.5)
    assert math.isnan(temporal.seam(steps, np.zeros(4, bool)).excess)
