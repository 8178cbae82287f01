"""Metrics that compare sets of clips: FID, FVD, CD-FVD."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dispose_stages.artifacts import Scores
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.scores import variant_of
from dispose_stages.benchmark.table import SetValue
from dispose_stages.errors import StoreError
from dispose_stages.score.frechet import FeatureMoments, frechet_distance
from dispose_stages.store.artifacts import ArtifactStore

SET_METRICS = ("fid", "fvd", "cd_fvd")
_PER_DIMENSION = 10
_GROUPS, _T_975 = 10, 2.262
"""Of the jackknife, and Student's quantile for as many groups."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A pair in a set."""

    run: RunOutcomes
    store: ArtifactStore
    pair: Row

    def features(self, role: str) -> np.ndarray | None:
        """Of a unit; None where there are none."""
        if (key := self.run.key(self.pair, role)) is None:
            return None
        try:
            return self.store.read("score", key, Scores).features
        except StoreError:
            return None

    def label(self, by: Sequence[str]) -> str:
        names = {
            "run": self.run.layout.root.name,
            "variant": variant_of(self.pair.parameters),
            "driver": self.pair.video_name,
            "reference": self.pair.image_name,
        }
        return ", ".join(names[name] for name in by) if by else "all"


def measures_sets(groups: Iterable[str]) -> bool:
    """Whether one of the groups has features; without, plan and ledgers need not be read."""
    return any(group.startswith(SET_METRICS) for group in set(groups))


def set_values(runs: Sequence[Path], by: Sequence[str]) -> Iterator[SetValue]:
    """Every metric of sets that the runs have features for, by group of pairs.

    Raises:
        StoreError: A folder holds no run.
    """
    groups: dict[str, list[_Member]] = {}
    for run in runs:
        outcomes = RunOutcomes.read(run)
        store = ArtifactStore(Path(read_run_config(outcomes.layout).store))
        for pair in outcomes.pairs:
            member = _Member(outcomes, store, pair)
            groups.setdefault(member.label(by), []).append(member)
    for metric in SET_METRICS:
        for suffix in ("", "_before_codec"):
            for label, members in sorted(groups.items()):
                wanted = [m for m in members if f"score_{metric}{suffix}" in m.pair.units]
                if wanted:
                    yield _value(metric, suffix, label, wanted)


def _value(metric: str, suffix: str, label: str, members: Sequence[_Member]) -> SetValue:
    role = f"score_{metric}"
    own = [m.features(role + suffix) for m in members]
    # Variants share their truth: it counts once.
    truths = {m.pair.units[f"{role}_truth"]: m for m in members}
    true = [m.features(f"{role}_truth") for m in truths.values()]
    have = [f for f in own if f is not None]
    against = [f for f in true if f is not None]
    count, true_count = sum(map(len, have)), sum(map(len, against))
    value, warning = math.nan, "too few features for a covariance"
    low = high = math.nan
    if min(count, true_count) >= 2:
        value = distance(have, against)
        warning = _warning(min(count, true_count), have[0].shape[1])
        low, high = interval(have, against, value)
    sizes = (count, true_count, len(have), len(members))
    return SetValue(metric + suffix, label, value, *sizes, warning, low, high)


def distance(have: Sequence[np.ndarray], against: Sequence[np.ndarray]) -> float:
    """Fréchet distance of two sets of clips' features."""
    return frechet_distance(FeatureMoments.of_blocks(have), FeatureMoments.of_blocks(against))


def interval(
    have: Sequence[np.ndarray], against: Sequence[np.ndarray], value: float
) -> tuple[float, float]:
    """95 % interval by the jackknife: ten groups of clips, each left out once.

    No bootstrap: a clip that is drawn twice makes the covariance of a small sample smaller than it
    is. What the interval does not hold is the bias of small samples, which all ten share.

    Args:
        have: Features of every clip.
        against: Likewise of what it is compared with.
        value: Their distance.

    Returns:
        Both ends; nan with fewer than ten clips on either side.
    """
    if min(len(have), len(against)) < _GROUPS:
        return math.nan, math.nan
    without = [distance(_without(have, g), _without(against, g)) for g in range(_GROUPS)]
    spread = math.sqrt((_GROUPS - 1) * float(np.var(without)))
    return max(0.0, value - _T_975 * spread), value + _T_975 * spread


def _without(clips: Sequence[np.ndarray], group: int) -> list[np.ndarray]:
    return [clip for index, clip in enumerate(clips) if index % _GROUPS != group]


def _warning(count: int, dimension: int) -> str:
    if count >= _PER_DIMENSION * dimension:
        return ""
    return (
        f"{count} features of {dimension} numbers: the distance is biased upwards, the more the "
        "smaller N; compare only sets of equal size (docs/benchmark.md)"
    )
