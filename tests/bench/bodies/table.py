"""The table of docs/bodies.md: errors of both alignments, cell by cell, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from tests.bench.bodies.measuring import Errors, measure
from tests.bench.bodies.observing import DETECTORS
from tests.bench.bodies.pairs import CELLS, make_pair

Results = Mapping[tuple[str, str], Sequence[Errors | None]]
_RESAMPLES = 2000
HEADINGS = {"body": "Body", "face": "Face", "hands": "Hands", "ground": "Lower ankle"}


def _pair(cell: str, seed: int) -> list[Errors | None]:
    """One pair through all detectors: it is rendered once."""
    pair = make_pair(seed, CELLS[cell])
    return [measure(pair, detector, seed) for detector in DETECTORS.values()]


def compute(first: int, count: int, workers: int, progress: Callable[[str], None]) -> Results:
    """All cells; the result does not depend on the number of workers.

    Args:
        first: Seed of the first pair.
        count: Pairs per cell.
        workers: Processes.
        progress: Told of every finished row.
    """
    results: dict[tuple[str, str], Sequence[Errors | None]] = {}
    with ProcessPoolExecutor(workers) as pool:
        for cell in CELLS:
            found = list(pool.map(partial(_pair, cell), range(first, first + count), chunksize=10))
            progress(f"{cell}: {count} pairs")
            for index, detector in enumerate(DETECTORS):
                results[cell, detector] = [errors[index] for errors in found]
    return results


def ratio(errors: Sequence[Errors | None], part: str) -> tuple[float, float, float]:
    """Error as delivered over the official fit's, and its 95 % interval (bootstrap over pairs)."""
    known = [e for e in errors if e is not None and np.isfinite(e.official.get(part, np.nan))]
    pairs = np.array([(e.delivered[part], e.official[part]) for e in known]).reshape(-1, 2)
    if not len(pairs):
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(0)
    drawn = pairs[rng.integers(len(pairs), size=(_RESAMPLES, len(pairs)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return float(pairs[:, 0].sum() / pairs[:, 1].sum()), float(low), float(high)


def markdown(results: Results) -> str:
    """A table per part of the body, and how often what was done."""
    lines = []
    for part, heading in HEADINGS.items():
        lines += [f"| {heading} | {' | '.join(DETECTORS)} |", "|---" * (len(DETECTORS) + 1) + "|"]
        for cell in CELLS:
            values = [ratio(results[cell, detector], part) for detector in DETECTORS]
            cells = ["-" if np.isnan(v) else f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in values]
            lines.append(f"| {cell} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"| What was done | {' | '.join(DETECTORS)} |", "|---" * (len(DETECTORS) + 1) + "|"]
    for cell in CELLS:
        lines.append(f"| {cell} | {' | '.join(_done(results[cell, d]) for d in DETECTORS)} |")
    return "\n".join(lines)


def _done(errors: Sequence[Errors | None]) -> str:
    """Share that fell back, number refused, mean error of the official fit."""
    known = [error for error in errors if error is not None]
    back = np.mean([not error.better for error in known])
    size = np.mean([error.official["body"] for error in known])
    return f"{back:.0%} back, {len(errors) - len(known)} refused, {size:.2f} heads"
