from __future__ import annotations

import math

import numpy as np
import pytest

from dispose_stages.score.statistics import estimate, estimates


def test_the_interval_is_about_that_of_the_mean():
    """Of a normal sample: 1.96 standard errors either way; the same in every run."""
    values = np.random.default_rng(1).normal(10, 2, 400)
    found = estimate(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert estimate(values) == found


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """In about 95 of 100 samples."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = estimate(rng.exponential(3.0, 60))
        held += found.low <= 3.0 <= found.high
    assert 175 <= held <= 198


def test_missing_values_are_counted_by_reason_and_never_zero():
    """97 of 100, and why."""
    values = np.full(100, 5.0)
    reasons = [""] * 100
    for index, reason in ((3, "no_person"), (50, "truth_short"), (99, "no_person")):
        values[index], reasons[index] = math.nan, reason
    found = estimate(values, reasons)
    assert (found.count, found.of, found.mean) == (97, 100, 5.0)
    assert found.missing == {"no_person": 2, "truth_short": 1}


def test_columns_share_their_draws():
    """A measure gets the same interval alone and among others."""
    values = np.random.default_rng(2).normal(size=(50, 3))
    values[7, 1] = math.nan
    reasons = [["lost"] * 50] * 3
    for column, found in enumerate(estimates(values, reasons)):
        alone = estimate(values[:, column], reasons[column])
        assert found.mean == alone.mean
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [3.0, math.nan]])
def test_too_few_values_have_no_interval(values):
    """Nan, and no warning."""
    found = estimate(np.array(values, dtype=np.float64), ["x"] * len(values))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.of == len(values)
