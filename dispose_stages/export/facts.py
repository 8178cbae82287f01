"""Counts and lists over the records of a data set, for its documents."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from dispose_stages.export.selection import LICENCE_COLUMNS, Record, groups_of
from dispose_stages.export.settings import ExportSettings
from dispose_stages.export.splits import shared_groups


def licences_of(records: Sequence[Record]) -> list[str]:
    """All licences that the samples state."""
    return sorted(stated(records, "licence"))


def stated(records: Sequence[Record], what: str) -> Counter[str]:
    """Values of ``licence``, ``consent`` or ``source_url`` with the number of samples."""
    columns = LICENCE_COLUMNS[what]
    values = (next((r[c] for c in columns if r.get(c)), None) for r in records)
    return Counter(str(value) for value in values if value)


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split in numbers."""

    name: str
    samples: int
    identities: int
    drivers: int
    frames: int
    seconds: float


def split_facts(records: Sequence[Record]) -> Iterator[SplitFacts]:
    """Every split that has samples."""
    by_split: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_split[record["split"]].append(record)
    for name, members in by_split.items():
        yield SplitFacts(
            name,
            len(members),
            len({record["reference_digest"] for record in members}),
            len({record["driver_digest"] for record in members}),
            sum(record["frames"] for record in members),
            sum(record["duration"] for record in members),
        )


def shared_between_splits(records: Sequence[Record], settings: ExportSettings) -> Mapping[str, int]:
    """Column of groups to the number of its groups that are in more than one split."""
    groups = [groups_of(record, settings) for record in records]
    shared = shared_groups(groups, [record["split"] for record in records])
    return dict(zip(settings.groups, shared, strict=True))


def values_of(records: Sequence[Record], prefix: str) -> dict[str, str]:
    """Columns with a prefix and what they hold: the value, or how many and from where to where."""
    names = [name for name in records[0] if name.startswith(prefix)]
    return {name.removeprefix(prefix): _range([r[name] for r in records]) for name in names}


def _range(values: Sequence[Any]) -> str:
    found = sorted(
        {value for value in values if value is not None}, key=lambda v: (str(type(v)), v)
    )
    absent = any(value is None for value in values)
    if not found:
        return "none"
    text = str(found[0]) if len(found) == 1 else f"{len(found)} values, {found[0]} to {found[-1]}"
    return f"{text}, or none" if absent else text


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """One metric over the samples that have it."""

    metric: str
    samples: int
    mean: float
    median: float
    lowest: float
    highest: float


def score_facts(records: Sequence[Record]) -> Iterator[ScoreFacts]:
    """Every metric that any sample has."""
    for name in (name for name in records[0] if name.startswith("score_")):
        values = [record[name] for record in records if record[name] is not None]
        if values:
            metric = name.removeprefix("score_")
            low, high = min(values), max(values)
            yield ScoreFacts(metric, len(values), fmean(values), median(values), low, high)
