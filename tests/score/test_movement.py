from __future__ import annotations

import math

import numpy as np
import pytest

from dispose_stages.score.movement import WINDOW, movement_distance

SEEN = np.ones((24, 134), dtype=bool)


def dance(seed=0, frames=24, pace=1.0):
    """Keypoints on circles of their own, pixels."""
    rng = np.random.default_rng(seed)
    phase, radius = rng.uniform(0, 2 * np.pi, 134), rng.uniform(2, 12, 134)
    angle = pace * np.arange(frames)[:, None] / 3 + phase
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[:, None] + 100


def apart(found, wanted, seen=SEEN):
    return movement_distance((found, seen), (wanted, SEEN), 100.0)


def test_equal_movements_are_nothing_apart_wherever_they_are():
    """A shift is none of its business."""
    assert apart(dance(), dance()) == pytest.approx(0, abs=1e-12)
    assert apart(dance() + 40, dance()) == pytest.approx(0, abs=1e-12)


def test_it_orders_what_moves_wrongly():
    """Jitter, another pace, another dance, standing still; never more than two."""
    rng = np.random.default_rng(5)
    jitter = apart(dance() + 0.3 * rng.standard_normal((24, 134, 2)), dance())
    pace = apart(dance(pace=1.5), dance())
    still = apart(np.repeat(dance()[:1], 24, axis=0), dance())
    assert 0 < jitter < pace < still < 2
    assert jitter < apart(dance(seed=1), dance())


def test_what_is_not_seen_does_not_move():
    """Points of invisible keypoints are never looked at."""
    seen = SEEN.copy()
    seen[:, 3] = False
    wild = dance()
    wild[:, 3] = np.random.default_rng(0).uniform(0, 1000, (24, 2))
    assert apart(wild, dance(), seen) == pytest.approx(apart(dance(), dance(), seen))


def test_a_clip_shorter_than_a_window_has_none():
    """Nan; with one window there is a value."""
    assert math.isnan(apart(dance(frames=WINDOW - 1), dance(frames=WINDOW - 1), SEEN[: WINDOW - 1]))
    one = movement_distance(
        (dance(frames=WINDOW), SEEN[:WINDOW]), (dance(frames=WINDOW), SEEN[:WINDOW]), 100.0
    )
    assert one == pytest.approx(0, abs=1e-12)
