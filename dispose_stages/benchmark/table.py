"""Means with intervals, differences between variants, and what is missing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd

from dispose_stages.atomic import canonical_json
from dispose_stages.errors import ConfigError
from dispose_stages.score.statistics import Estimate, estimates

GROUPINGS = ("run", "variant", "driver", "reference")
BASELINE = "full"
_INTERVAL_ENDS = ("_low", "_high")


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of one group of pairs."""

    metric: str
    group: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class SetValue:
    """A metric that compares sets, of one group of pairs.

    Attributes:
        metric: Such as ``fvd``.
        group: Of pairs.
        value: Nan where there are too few features for a covariance.
        count: Features of the results.
        true_count: Features of what they are compared with.
        clips: Pairs that have some.
        of: Pairs that should.
        warning: What to know of it; empty where the sample is large enough.
        low: Lower end of the interval; nan where there are too few pairs for one.
        high: Upper end.
    """

    metric: str
    group: str
    value: float
    count: int
    true_count: int
    clips: int
    of: int
    warning: str = ""
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that is printed.

    Attributes:
        by: What pairs are grouped by.
        cells: Means.
        differences: Mean of a variant (or run) minus that of the baseline, over pairs that both
            have.
        baseline: The full method; the first run where pairs are grouped by run alone.
        sets: Metrics of sets.
        protocols: Metric to the fingerprints it was measured by.
        paper: Metric to the published value.
        notes: Lines to be read with it.
    """

    by: tuple[str, ...]
    cells: tuple[Cell, ...]
    differences: tuple[Cell, ...] = ()
    baseline: str = BASELINE
    sets: tuple[SetValue, ...] = ()
    protocols: Mapping[str, Sequence[str]] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of all protocols together."""
        text = canonical_json({m: list(p) for m, p in self.protocols.items()})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def plain(self) -> dict[str, object]:
        """As JSON; nan is null."""
        content = {**asdict(self), "fingerprint": self.fingerprint}
        plain = _without_nan(content)
        assert isinstance(plain, dict)  # noqa: S101 - for the type checker
        return plain


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tabulate(
    scores: pd.DataFrame,
    by: Sequence[str],
    *,
    sets: Sequence[SetValue] = (),
    paper: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Means of every metric and group of pairs.

    Args:
        scores: As `benchmark.records.read_scores` gives them.
        by: Of `GROUPINGS`.
        sets: Values of metrics of sets.
        paper: Published values.
        notes: Lines to be read with it.

    Raises:
        ConfigError: `by` names something else.
    """
    if unknown := [name for name in by if name not in GROUPINGS]:
        raise ConfigError(f"--by {unknown[0]}: known are {', '.join(GROUPINGS)}")
    shown = scores[~scores["metric"].str.endswith(_INTERVAL_ENDS)].copy()
    shown["_by"] = _labels(shown, by)
    cells = [
        cell for label, part in shown.groupby("_by", sort=True) for cell in _cells(str(label), part)
    ]
    measured = shown.dropna(subset=["protocol"])
    protocols = {
        str(metric): sorted(set(part))
        for metric, part in measured.groupby("metric", sort=True)["protocol"]
    }
    by_run = list(by) == ["run"] and len(scores) > 0
    baseline = str(scores["run"].iloc[0]) if by_run else BASELINE
    column = "run" if by_run else "variant"
    return Table(
        by=tuple(by),
        cells=tuple(cells),
        differences=tuple(_differences(shown, column, baseline)) if column in by else (),
        baseline=baseline,
        sets=tuple(sets),
        protocols=protocols,
        paper=paper or {},
        notes=tuple(notes),
    )


def _labels(scores: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    if not by:
        return pd.Series("all", index=scores.index)
    return joined([scores[name] for name in by], ", ")


def joined(columns: Sequence[pd.Series], separator: str) -> pd.Series:
    """Texts of several columns in one; row by row it would take minutes."""
    first, *others = (column.map(str) for column in columns)
    return first.str.cat(pd.concat(others, axis=1), sep=separator) if others else first


def _cells(label: str, part: pd.DataFrame) -> list[Cell]:
    keys = part["run"] + "/" + part["pair_id"]
    rows, pairs = pd.factorize(keys)
    columns, metrics = pd.factorize(part["metric"], sort=True)
    values = np.full((len(pairs), len(metrics)), np.nan)
    values[rows, columns] = part["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    reasons = np.full(values.shape, "not measured", dtype=object)
    reasons[rows, columns] = part["reason"].fillna("").to_numpy()
    found = estimates(values, [list(reasons[:, column]) for column in range(len(metrics))])
    return [Cell(str(m), label, value) for m, value in zip(metrics, found, strict=True)]


def _differences(scores: pd.DataFrame, column: str, baseline: str) -> Iterator[Cell]:
    """Cells in the order of the metrics, then of the column's values.

    Args:
        column: ``variant`` or ``run``.
        baseline: Value that all others are compared with.
    """
    alike = ["case"] if column == "variant" else ["case", "variant"]
    single = scores.drop_duplicates([column, *alike, "metric"], keep="last")
    wide = {
        str(value): own.pivot(index=alike, columns="metric", values="value").astype(float)
        for value, own in single.groupby(column)
    }
    if baseline not in wide:
        return
    base = wide.pop(baseline)
    found = {}
    for variant, values in wide.items():
        apart = values - base  # over the cases and metrics of either, sorted
        why = [["not in both"] * len(apart)] * apart.shape[1]
        for metric, estimate in zip(apart.columns, estimates(apart.to_numpy(), why), strict=True):
            found[str(metric), variant] = estimate
    measured = set(scores["metric"][scores["value"].notna()])
    for metric, variant in sorted(found):
        if metric in measured:
            yield Cell(metric, variant, found[metric, variant])
