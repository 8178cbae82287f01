from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import scipy.stats

from dispose_stages.score import drift


def test_appearance():
    """Channel means in [0, 1]; blur lowers sharpness, a change of colour does not raise it."""
    image = np.random.default_rng(0).integers(0, 200, (60, 80, 3), np.uint8)
    values = drift.appearance(image)
    for channel, name in enumerate(("red", "green", "blue")):
        assert values[name] == pytest.approx(image[..., channel].mean() / 255)
    blurred = drift.appearance(cv2.GaussianBlur(image, (0, 0), 2))
    assert blurred["sharpness"] < values["sharpness"] - 0.5
    assert drift.appearance(image + 20)["sharpness"] == pytest.approx(values["sharpness"], abs=1e-3)


def test_slope_per_hundred_frames():
    """A line is found exactly; frames that are missing do not move it."""
    line = 3 + 0.02 * np.arange(50)
    line[10:15] = np.nan
    found = drift.slope(line)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert math.isnan(drift.slope(np.array([1.0, 2.0])).value)


def coverage(memory, runs=400, frames=200):
    """How often the interval around noise of that memory holds the true slope, zero."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(runs):
        noise = rng.standard_normal(frames)
        for index in range(1, frames):
            noise[index] += memory * noise[index - 1]
        found = drift.slope(noise)
        held += found.low <= 0 <= found.high
    return held / runs


def test_the_interval_knows_that_frames_depend_on_one_another():
    """About 95 % for independent frames, and not much less where half of each lives on.

    The plain least-squares interval would hold the slope in 75 % of the latter.
    """
    assert 0.92 < coverage(0.0) < 0.98
    assert 0.9 < coverage(0.5) < 0.98


@pytest.mark.parametrize("freedom", [3, 5.5, 10, 100])
def test_the_quantile_is_students(freedom):
    """As SciPy has it, within 2 % where few frames are left."""
    wanted = scipy.stats.t.ppf(0.975, freedom)
    assert drift._t_quantile(freedom) == pytest.approx(wanted, rel=0.02)
