from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.geometry.frames import cover_resize
from dispose_stages.missing import Missing
from dispose_stages.score.truth import aligned_frame, cover_frame, unusable


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (64, 64), (201, 99)])
def test_the_truth_goes_through_the_references_geometry(size):
    """Cover and centre crop; only values halfway between two may round otherwise."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    wanted = cover_resize(frame, 96, 64).astype(int)
    found = cover_frame(frame, 96, 64)
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < (0.03 if size == (64, 64) else 0.001)


def test_an_aligned_truth_moves_as_the_pose_does():
    """A point at normalised p comes to p * scale + shift; where nothing came, nothing is said."""
    frame = np.zeros((200, 100, 3), np.uint8)
    frame[98:103, 48:53] = 255  # around (0.505, 0.5025)
    moved, mask = aligned_frame(frame, scale=(0.5, 0.5), shift=(0.3, 0.1), height=400, width=200)
    rows, columns = np.nonzero(moved[..., 0] > 128)
    assert columns.mean() == pytest.approx(200 * (0.5 * 0.505 + 0.3), abs=1.5)
    assert rows.mean() == pytest.approx(400 * (0.5 * 0.5025 + 0.1), abs=1.5)
    # The frame covers x from 0.3 to 0.8 and y from 0.1 to 0.6 of the result.
    assert mask.mean() == pytest.approx(0.25, abs=0.01)
    assert mask[100, 100]
    assert not mask[30, 100]
    assert not mask[100, 50]


GOOD = {
    "last_index": 9,
    "frames": 10,
    "fps": 30.0,
    "driver_fps": 30.0,
    "aspect": 0.5625,
    "driver_aspect": 0.5625,
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"fps": 29.97}, None),
        ({"frames": 9}, Missing.TRUTH_SHORT),
        ({"fps": 25.0}, Missing.TRUTH_RATE),
        ({"aspect": 1.0}, Missing.TRUTH_SHAPE),
    ],
)
def test_a_truth_that_cannot_be_compared_with_is_named(change, reason):
    """Too short, another rate, another shape."""
    assert unusable(**GOOD | change) is reason
