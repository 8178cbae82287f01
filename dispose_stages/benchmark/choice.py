"""The best of many: of every group of pairs the one whose score is best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dispose_stages.batch.layout import RunLayout
from dispose_stages.errors import ConfigError
from dispose_stages.export.selection import read_index
from dispose_stages.report.metrics import Better, better
from dispose_stages.wording import did_you_mean

_PER = {"reference": ("reference_image", "reference_frame"), "driver": ("driving_video",)}
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A delivered pair of a group.

    Attributes:
        record: Its line of the index.
        value: Of the metric; None where it has none.
        chosen: Whether it is the best of its group.
    """

    record: Record
    value: float | None
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen of a run.

    Attributes:
        metric: By which.
        way: Which way it is better.
        per: Columns that make a group.
        groups: Values of these to the delivered pairs, in order of the index.
        left_out: Groups without any value.
    """

    metric: str
    way: Better
    per: Sequence[str]
    groups: Mapping[tuple[str, ...], Sequence[Candidate]]
    left_out: Sequence[tuple[str, ...]]

    def chosen(self) -> Iterator[tuple[tuple[str, ...], Candidate]]:
        """The best of every group."""
        for group, candidates in self.groups.items():
            yield from ((group, each) for each in candidates if each.chosen)


def choose(run_dir: Path, metric: str, per: Sequence[str], way: Better = "") -> Choice:
    """The best pair of every group; of equal ones the first of the manifest.

    Args:
        run_dir: Of a run with scores.
        metric: A score, without ``score_``; or a number of the index.
        per: ``reference``, ``driver``, or columns of the index.
        way: Which way the metric is better, where that is not known.

    Raises:
        StoreError: The run has no index.
        ConfigError: There is no such metric or column, or nobody knows which way it is better.
    """
    table = read_index(RunLayout(run_dir).index)
    column = _column(table, metric)
    way = way or better(metric)
    if not way:
        raise ConfigError(f"{metric} is neither better high nor low; say --highest or --lowest")
    names = [name for each in per for name in _PER.get(each, (each,))]
    if unknown := [name for name in names if name not in table.column_names]:
        known = did_you_mean(unknown[0], [*_PER, *table.column_names])
        raise ConfigError(f"the index has no column {unknown[0]!r}{known}")
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in table.filter(pc.field("status") == "delivered").to_pylist():
        groups.setdefault(tuple(str(record[name] or "") for name in names), []).append(record)
    judged = {group: _judged(records, column, way) for group, records in groups.items()}
    without = [group for group, found in judged.items() if not any(c.chosen for c in found)]
    return Choice(metric, way, names, judged, without)


def _column(table: pa.Table, metric: str) -> str:
    for name in (f"score_{metric}", metric):
        if name in table.column_names:
            kind = table.schema.field(name).type
            if pa.types.is_floating(kind) or pa.types.is_integer(kind):
                return name
    scores = [n.removeprefix("score_") for n in table.column_names if n.startswith("score_")]
    what = did_you_mean(metric, scores) if scores else "; the run has no scores (score.metrics)"
    raise ConfigError(f"the run has no metric {metric!r}{what}")


def _judged(records: Sequence[Record], column: str, way: Better) -> list[Candidate]:
    rank = {"higher": lambda v: -v, "lower": lambda v: v, "near zero": abs}[way]
    values = [_number(record[column]) for record in records]
    known = [(rank(value), place) for place, value in enumerate(values) if value is not None]
    best = min(known)[1] if known else None
    return [
        Candidate(record, value, chosen=place == best)
        for place, (record, value) in enumerate(zip(records, values, strict=True))
    ]


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
