"""Which way a metric is better, how its values are distributed, and which pairs stand out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.batch.scores import VARIANTS
from dispose_stages.report.columns import Group, NumberColumn, Table, rounded

Better = Literal["higher", "lower", "near zero", ""]
_BETTER: Mapping[str, Better] = {
    "psnr": "higher",
    "ssim": "higher",
    "ms_ssim": "higher",
    "pck_": "higher",
    "identity": "higher",
    "persons_one": "higher",
    "l1": "lower",
    "lpips": "lower",
    "akd_": "lower",
    "missing_": "lower",
    "spurious_": "lower",
    "movement_": "lower",
    "persons_none": "lower",
    "persons_more": "lower",
    "warping_error": "lower",
    "flicker_excess": "near zero",
    "seam_": "near zero",
    "drift_": "near zero",
    "alignment_residual": "lower",
    "reference_score": "higher",
    "driver_score": "higher",
    "reference_keypoints": "higher",
    "no_person_share": "lower",
    "retarget_uncertain": "lower",
    "retarget_residual": "lower",
    "retarget_ground_slip": "lower",
}
"""By the beginning of its name; all others are neither."""
MAIN = (
    *("psnr", "ssim", "ms_ssim", "lpips", "identity", "pck_010_body", "akd_body"),
    *("flicker_excess", "warping_error", "seam_flicker", "drift_colour", "drift_sharpness"),
    *("alignment_residual", "driver_score", "reference_score", "no_person_share"),
)
"""What a reader wants to see before all others."""
BINS = 24
EXTREMES = 3
"""Pairs at either end."""
_NAMED = 60
"""Metrics whose worst and best pairs are told, the main ones first."""


def in_order(variants: Iterable[str]) -> list[str]:
    """As the paper names them, then all others."""
    places = {name: place for place, name in enumerate(VARIANTS)}
    return sorted(variants, key=lambda name: (places.get(name, len(places)), name))


def better(name: str) -> Better:
    """Which way a metric is better."""
    return next((way for prefix, way in _BETTER.items() if name.startswith(prefix)), "")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of one metric over the pairs, as the page's script takes it.

    Attributes:
        group: Whether it is a score or tells of detection and alignment.
        main: Whether it is one of those that a reader wants to see first.
        better: Which way.
        low: Left edge of the first bin.
        high: Right edge of the last.
        counts: Variant to pairs per bin.
        medians: Variant to the value in the middle.
        missing: Reason to number of pairs without a value.
        worst: Positions of the pairs at that end, the worst first.
    """

    name: str
    group: Group
    main: bool
    better: Better
    low: float | None
    high: float | None
    counts: Mapping[str, Sequence[int]]
    medians: Mapping[str, float | None]
    missing: Mapping[str, int]
    worst: Sequence[int]
    best: Sequence[int]


def distributions(
    table: Table, missing: Mapping[str, Counter[str]], delivered: Int64[np.ndarray, "n"]
) -> Iterator[Distribution]:
    """Of every score, then of what detection and alignment gave; the main ones first.

    Args:
        missing: Metric to reasons why pairs have none.
        delivered: Positions of the pairs with a video; only these can stand out.
    """
    if not table.rows:
        return
    columns = [*table.numbers("score"), *table.numbers("fact")]
    columns.sort(key=lambda column: MAIN.index(column.name) if column.name in MAIN else len(MAIN))
    variants = table.text("variant")
    names = np.array(list(variants.words))[np.frombuffer(variants.codes, np.int64)]
    for position, column in enumerate(columns):
        if np.isfinite(np.frombuffer(column.values, np.float64)).any():
            ends = _ends(column, delivered) if position < _NAMED else ([], [])
            yield _distribution(column, names, missing.get(column.name, Counter()), *ends)


def _distribution(
    column: NumberColumn,
    variants: np.ndarray,
    missing: Mapping[str, int],
    worst: Sequence[int],
    best: Sequence[int],
) -> Distribution:
    values = np.frombuffer(column.values, np.float64)
    there = np.isfinite(values)
    low, high = float(values[there].min()), float(values[there].max())
    names = in_order(np.unique(variants[there]).tolist())
    groups = {name: values[there & (variants == name)] for name in names}
    return Distribution(
        name=column.name,
        group=column.group,
        main=column.name in MAIN,
        better=better(column.name),
        low=rounded(low),
        high=rounded(high),
        counts={name: _histogram(found, low, high) for name, found in groups.items()},
        medians={name: rounded(float(np.median(found))) for name, found in groups.items()},
        missing=dict(missing),
        worst=worst,
        best=best,
    )


def _histogram(values: Float64[np.ndarray, "n"], low: float, high: float) -> list[int]:
    if not high > low:
        return [len(values)]
    counts: list[int] = np.histogram(values, BINS, (low, high))[0].tolist()
    return counts


def _ends(column: NumberColumn, delivered: Int64[np.ndarray, "n"]) -> tuple[list[int], list[int]]:
    """Positions of the worst and of the best pairs; none where no way is better."""
    way = better(column.name)
    values = np.frombuffer(column.values, np.float64)[delivered]
    there = delivered[np.isfinite(values)]
    values = values[np.isfinite(values)]
    if not way or not len(values):
        return [], []
    goodness = {"higher": values, "lower": -values, "near zero": -np.abs(values)}[way]
    order = there[np.argsort(goodness, kind="stable")].tolist()
    count = min(EXTREMES, len(order) // 2 or 1)
    return order[:count], order[::-1][:count]
