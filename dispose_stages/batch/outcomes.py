"""How a run stands, put together from its plan and its ledgers; nothing is computed or opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dispose_stages.batch.heartbeat import is_alive, read_heartbeat
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Entry, Ledger, Status
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.errors import StoreError

ROLES = {
    "ingest_image": "ingest",
    "ingest_video": "ingest",
    "pose_image": "pose",
    "pose_video": "pose",
    "correspondence": "correspondence",
    "motion": "motion",
    "sample": "sample",
    "mux": "mux",
}
"""Role of a pair's unit to its stage, upstream first."""


class PairStatus(StrEnum):
    """How a pair stands."""

    DELIVERED = "delivered"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair as planned.

    Attributes:
        pair_id: Its name.
        line: In the manifest.
        reference_image: Path.
        driving_video: Path.
        parameters: All of them.
        units: Role to unit id.
        extra: Cells of the manifest's columns that decide nothing.
    """

    pair_id: str
    line: int
    reference_image: str
    driving_video: str
    parameters: Mapping[str, Any]
    units: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """How a pair stands and, if it failed, where and why.

    Attributes:
        pair: The pair.
        status: How it stands.
        stage: The stage that failed; for a pending pair the next that is not done.
        unit: The unit of that stage.
        reason: Typed reason.
        message: One line.
    """

    pair: PlannedPair
    status: PairStatus
    stage: str = ""
    unit: str = ""
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class ShardState:
    """One job.

    Attributes:
        stage: Its stage.
        name: Its name.
        total: Number of units.
        entries: Outcomes so far.
        finished: Whether its ledger is there.
        heartbeat: What it last said, while it runs.
        stats: Its statistics.
    """

    stage: str
    name: str
    total: int
    entries: Mapping[str, Entry]
    finished: bool
    heartbeat: Mapping[str, Any] | None
    stats: JobStats


@dataclass(slots=True)
class RunOutcomes:
    """Everything that plan, ledgers, statistics and heartbeats say.

    Attributes:
        layout: Where the run lies.
        summary: Its plan in brief.
        pairs: As planned.
        shards: All jobs, in order of the data flow.
        entries: Stage to unit id to outcome.
    """

    layout: RunLayout
    summary: PlanSummary
    pairs: list[PlannedPair]
    shards: list[ShardState]
    entries: dict[str, dict[str, Entry]]
    _shard_of: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> RunOutcomes:
        """Read a run.

        Raises:
            StoreError: The folder holds no planned run, or one of another version.
        """
        layout = RunLayout(run_dir)
        if not layout.summary.exists():
            raise StoreError(f"{run_dir} holds no planned run (no {layout.summary.name})")
        summary = PlanSummary.read(layout.summary)
        shards = [
            _read_shard(layout, stage, name, shard.units)
            for stage, named in summary.shards.items()
            for name, shard in named.items()
        ]
        outcomes = cls(layout, summary, read_pairs(layout.pairs), shards, {})
        for shard in shards:
            merged = outcomes.entries.setdefault(shard.stage, {})
            for unit_id, entry in shard.entries.items():
                merged[unit_id] = entry
                outcomes._shard_of[shard.stage, unit_id] = shard.name
        return outcomes

    def entry(self, pair: PlannedPair, role: str) -> Entry | None:
        """Outcome of one of a pair's units, if it has any yet."""
        return self.entries.get(ROLES[role], {}).get(pair.units.get(role, ""))

    def log(self, stage: str, unit_id: str) -> Path | None:
        """Log of the job that brought a unit to its outcome."""
        shard = self._shard_of.get((stage, unit_id))
        return self.layout.log(stage, shard) if shard else None

    def pair_outcomes(self) -> Iterator[PairOutcome]:
        """Every pair, in order of the manifest."""
        for pair in self.pairs:
            yield self.pair_outcome(pair)

    def pair_outcome(self, pair: PlannedPair) -> PairOutcome:
        """How one pair stands."""
        mux = self.entry(pair, "mux")
        if mux is not None and mux.status is Status.DONE:
            return PairOutcome(pair, PairStatus.DELIVERED)
        waiting = None
        for role in _needed_roles(pair):
            entry = self.entry(pair, role)
            if entry is not None and entry.status in {Status.FAILED, Status.BLOCKED}:
                return _failed(pair, role, entry)
            if waiting is None and (entry is None or entry.status is not Status.DONE):
                waiting = role
        stage = ROLES[waiting or "mux"]
        return PairOutcome(pair, PairStatus.PENDING, stage, pair.units.get(waiting or "mux", ""))


def _needed_roles(pair: PlannedPair) -> list[str]:
    return [role for role in ROLES if role in pair.units]


def _failed(pair: PlannedPair, role: str, entry: Entry) -> PairOutcome:
    if entry.status is Status.BLOCKED:
        stage, _, unit = entry.origin.partition("/")
        reason = str(entry.facts.get("root_reason") or entry.reason)
    else:
        stage, unit, reason = ROLES[role], pair.units[role], str(entry.reason)
    return PairOutcome(pair, PairStatus.FAILED, stage, unit, reason, entry.message)


def read_pairs(path: Path) -> list[PlannedPair]:
    """All pairs of ``plan/pairs.json``.

    Raises:
        StoreError: The file cannot be used.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [PlannedPair(**pair) for pair in content["pairs"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: cannot be read: {error!r}") from None


def _read_shard(layout: RunLayout, stage: str, name: str, total: int) -> ShardState:
    entries: Mapping[str, Entry] = {}
    finished = False
    ledger, partial = layout.ledger(stage, name), layout.partial(stage, name)
    for path in (ledger, partial):
        if path.exists():
            entries, finished = Ledger.read(path).units, path == ledger
            break
    heartbeat = read_heartbeat(layout.heartbeat(stage, name))
    if heartbeat is not None and not is_alive(heartbeat):
        heartbeat = None
    stats = JobStats.read(layout.stats(stage, name))
    return ShardState(stage, name, total, entries, finished, heartbeat, stats)
