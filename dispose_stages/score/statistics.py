"""What a mean over pairs is worth: intervals by the bootstrap, what is missing.

Pairs are drawn, never frames: frames of one clip are not independent. Missing values stay in the
draws, so an interval also knows how many pairs could not be measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64

DRAWS = 2000
_SEED = 20_260_000
_PERCENTILES = (2.5, 97.5)
_BLOCK = 250


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over pairs.

    Attributes:
        mean: Of the pairs that have a value; nan without one.
        low: 2.5th percentile of the bootstrapped means; nan with fewer than two values.
        high: 97.5th percentile.
        count: Pairs that have a value.
        of: Pairs that should have one.
        missing: How many have none, by reason.
    """

    mean: float
    low: float
    high: float
    count: int
    of: int
    missing: Mapping[str, int] = field(default_factory=dict)


def estimate(values: Float64[np.ndarray, "n"], reasons: Sequence[str] | None = None) -> Estimate:
    """Mean with a bootstrap percentile interval; see `estimates`.

    Args:
        values: Of every pair; nan where it has none.
        reasons: Why, for the pairs without one.
    """
    return estimates(values[:, None], [list(reasons or [""] * len(values))])[0]


def estimates(
    values: Float64[np.ndarray, "n m"], reasons: Sequence[Sequence[str]]
) -> list[Estimate]:
    """`Estimate` of several measures of the same pairs, from the same draws.

    Args:
        values: Of every pair (rows) and measure (columns).
        reasons: For each measure, why each pair has no value (unread where it has one).
    """
    present = np.isfinite(values)
    means = _drawn_means(np.where(present, values, 0.0), present.astype(np.float64))
    found = []
    for column, why in enumerate(reasons):
        has = present[:, column]
        count = int(has.sum())
        mean = float(values[has, column].mean()) if count else math.nan
        low = high = math.nan
        if count > 1:
            drawn = means[:, column]
            low, high = np.percentile(drawn[np.isfinite(drawn)], _PERCENTILES).tolist()
        missing = Counter(reason for reason, there in zip(why, has, strict=True) if not there)
        found.append(Estimate(mean, low, high, count, len(has), dict(sorted(missing.items()))))
    return found


def _drawn_means(
    values: Float64[np.ndarray, "n m"], present: Float64[np.ndarray, "n m"]
) -> Float64[np.ndarray, "draws m"]:
    """Mean of every draw; nan where a draw caught no pair with a value."""
    rng = np.random.default_rng(_SEED)
    totals, counts = [], []
    for start in range(0, DRAWS, _BLOCK):
        times = _times_drawn(rng, min(_BLOCK, DRAWS - start), len(values))
        totals.append(times @ values)
        counts.append(times @ present)
    total, count = np.concatenate(totals), np.concatenate(counts)
    means: Float64[np.ndarray, "draws m"] = np.full_like(total, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _times_drawn(rng: np.random.Generator, draws: int, pairs: int) -> Float32[np.ndarray, "b n"]:
    """How often each pair is in each draw of as many pairs, with replacement."""
    times = np.empty((draws, pairs))
    for row in times:
        row[:] = np.bincount(rng.integers(0, pairs, pairs), minlength=pairs)
    return times
