from __future__ import annotations

import math

import numpy as np
import pytest

from dispose_stages.benchmark.sets import distance, interval


def clips(rng, count, shift=0.0):
    """Features of clips: windows of one clip are alike, as they are where windows overlap."""
    return [
        shift + rng.standard_normal(3) + 0.3 * rng.standard_normal((8, 3)) for _ in range(count)
    ]


def test_the_interval_holds_the_distance_as_often_as_it_says():
    """In about 95 of 100 cases that of the populations: clips count, not windows."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        have, against = clips(rng, 200, shift=1.0), clips(rng, 200)
        low, high = interval(have, against, distance(have, against))
        held += low <= 3.0 <= high  # equal covariances, three means one apart
    assert 88 <= held <= 100


def test_more_clips_give_a_narrower_interval():
    """About half of it for four times as many."""
    rng = np.random.default_rng(1)

    def width(count):
        found = []
        for _ in range(20):
            have, against = clips(rng, count, shift=1.0), clips(rng, count)
            low, high = interval(have, against, distance(have, against))
            found.append(high - low)
        return np.median(found)

    assert width(400) == pytest.approx(width(100) / 2, rel=0.35)


def test_too_few_clips_have_no_interval():
    """Nan, as for means of one pair."""
    rng = np.random.default_rng(2)
    have, against = clips(rng, 9), clips(rng, 200)
    assert all(map(math.isnan, interval(have, against, distance(have, against))))
