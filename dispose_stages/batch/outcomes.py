"""How a run stands, put together from its plan and its ledgers; nothing is computed or opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import read_lease
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.manifest import Row, RowProblem
from dispose_stages.batch.run_files import read_pairs, read_rejects
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status, stage_of
from dispose_stages.errors import StoreError
from dispose_stages.wording import did_you_mean, named, one_line

T = TypeVar("T")

ROLES = (
    *("ingest_image", "ingest_video", "pose_image", "pose_video"),
    *("correspondence", "motion", "sample", "mux"),
)
"""Roles of the units that a pair's video may need, upstream first."""


class Files:
    """Reads files anew only when they have changed, for who looks at a run again and again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], Any]] = {}

    def read(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """The value of a file; None where there is none."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != state:
            known = self._known[path] = (state, read(path))
        return known[1]


class PairStatus(StrEnum):
    """How a pair stands."""

    DELIVERED = "delivered"
    FAILED = "failed"
    PENDING = "pending"
    HELD = "held"
    """Not of the pilot; the rest of the manifest follows when the run is no pilot any more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pair stands and, if it failed, where and why.

    Attributes:
        stage: The stage that failed; for a pending pair the next that is not done.
        unit: The unit of that stage.
    """

    pair: Row
    status: PairStatus
    stage: str = ""
    unit: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of the manifest; each is in exactly one of these, wherever a run is counted."""

    delivered: int = 0
    failed: int = 0
    rejected: int = 0
    pending: int = 0
    held: int = 0

    @classmethod
    def of(cls, pairs: Iterable[PairStatus], rejects: Iterable[RowProblem]) -> RowCounts:
        """Count; a row with several problems was rejected once."""
        counts = Counter(str(status) for status in pairs)
        return cls(**counts, rejected=len({problem.line for problem in rejects}))

    @property
    def total(self) -> int:
        """All rows but those that a pilot holds back."""
        return self.delivered + self.failed + self.rejected + self.pending

    @property
    def extent(self) -> Literal["all", "some", "none"]:
        """How much was delivered, rejected rows included."""
        if self.delivered == self.total:
            return "all"
        return "some" if self.delivered else "none"

    def __str__(self) -> str:
        others = {"failed": self.failed, "rejected": self.rejected, "pending": self.pending}
        others["held back"] = self.held
        told = [f"{count} {name}" for name, count in others.items() if count]
        return ", ".join([f"{self.delivered} of {self.total} rows delivered", *told])


@dataclass(slots=True)
class ShardState:
    """One job.

    Attributes:
        results: Of its units, so far; what a ledger says of units of a former plan is left out.
        finished: Whether its ledger is there, and speaks of all its units.
        running: What its job last said, while it runs.
    """

    stage: str
    name: str
    total: int
    results: Mapping[str, Result]
    finished: bool
    running: Mapping[str, Any] | None
    stats: JobStats


@dataclass(slots=True)
class RunOutcomes:
    """Everything that plan, ledgers, statistics and heartbeats say.

    Attributes:
        rejects: Why the manifest's other rows were set aside.
        shards: All jobs, in order of the data flow.
        results: By stage and unit id.
    """

    layout: RunLayout
    summary: PlanSummary
    pairs: list[Row]
    rejects: list[RowProblem]
    shards: list[ShardState]
    results: dict[str, dict[str, Result]]
    _shard_of: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path, files: Files | None = None) -> RunOutcomes:
        """Read a run.

        Args:
            run_dir: ``<results>/<run>``.
            files: What was read before, where the run is looked at again and again.

        Raises:
            StoreError: The folder holds no planned run, or one of another version.
        """
        layout, files = RunLayout(run_dir), files or Files()
        summary = files.read(layout.summary, PlanSummary.read)
        if summary is None:
            raise StoreError(f"{run_dir} holds no planned run (no {layout.summary.name})")
        pairs, rejects = files.read(
            layout.pairs, lambda _: (read_pairs(layout), read_rejects(layout))
        ) or ([], [])
        planned = _planned_units(pairs)
        shards = [
            _read_shard(layout, (stage, name, shard.units), planned.get(stage, set()), files)
            for stage, named in summary.shards.items()
            for name, shard in named.items()
        ]
        outcomes = cls(layout, summary, pairs, rejects, shards, {})
        for shard in shards:
            outcomes.results.setdefault(shard.stage, {}).update(shard.results)
            outcomes._shard_of |= {(shard.stage, unit): shard.name for unit in shard.results}
        return outcomes

    def pair(self, pair_id: str) -> Row:
        """One pair.

        Raises:
            StoreError: The run has none of that name.
        """
        rows = {row.pair_id: row for row in self.pairs}
        if pair_id not in rows:
            near = did_you_mean(pair_id, rows) or f"; it has {named([*rows])}"
            raise StoreError(f"the run has no pair {pair_id!r}{near}")
        return rows[pair_id]

    def result(self, pair: Row, role: str) -> Result | None:
        """What came of one of a pair's units, if anything yet."""
        return self.results.get(stage_of(role), {}).get(pair.units.get(role, ""))

    def key(self, pair: Row, role: str) -> str | None:
        """Of the artifact of one of a pair's units; None where there is none, or none yet."""
        result = self.result(pair, role)
        return result.key if result is not None and result.status is Status.DONE else None

    def warnings(self, pair: Row) -> list[str]:
        """Codes of what a user should look at, of all the pair's units."""
        results = (self.result(pair, role) for role in ROLES)
        return sorted({str(code) for result in results if result for code in result.warnings})

    def warned(self) -> Counter[str]:
        """Warning to number of pairs."""
        return Counter(code for pair in self.pairs for code in self.warnings(pair))

    def log(self, stage: str, unit_id: str) -> Path | None:
        """Log of the job that brought a unit to its outcome."""
        shard = self._shard_of.get((stage, unit_id))
        return self.layout.log(stage, shard) if shard else None

    def pair_outcomes(self) -> Iterator[Outcome]:
        """Every pair, in order of the manifest."""
        for pair in self.pairs:
            yield self.pair_outcome(pair)

    def failures(self) -> dict[str, list[Outcome]]:
        """Failed pairs by reason, the most frequent first."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.pair_outcomes():
            if outcome.status is PairStatus.FAILED:
                groups.setdefault(outcome.reason, []).append(outcome)
        return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))

    def seconds(self) -> dict[tuple[str, str], float]:
        """What it took to compute each unit, by (stage, id)."""
        return {
            (shard.stage, unit): value
            for shard in self.shards
            for unit, value in shard.stats.seconds.items()
        }

    def counts(self) -> RowCounts:
        """How many rows of the manifest stand how."""
        return RowCounts.of((outcome.status for outcome in self.pair_outcomes()), self.rejects)

    def pair_outcome(self, pair: Row) -> Outcome:
        """How one pair stands."""
        mux = self.result(pair, "mux")
        if mux is not None and mux.status is Status.DONE:
            return Outcome(pair, PairStatus.DELIVERED)
        waiting = None
        for role in (role for role in ROLES if role in pair.units):
            result = self.result(pair, role)
            if result is not None and result.status in {Status.FAILED, Status.BLOCKED}:
                return _failed(pair, role, result)
            if waiting is None and (result is None or result.status is not Status.DONE):
                waiting = role
        stage = stage_of(waiting or "mux")
        status = PairStatus.HELD if pair.held else PairStatus.PENDING
        return Outcome(pair, status, stage, pair.units.get(waiting or "mux", ""))


def _failed(pair: Row, role: str, result: Result) -> Outcome:
    stage, unit = stage_of(role), pair.units[role]
    if result.status is Status.BLOCKED:
        stage, _, unit = result.origin.partition("/")
    message = one_line(result.message)
    return Outcome(pair, PairStatus.FAILED, stage, unit, str(result.reason), message)


def _planned_units(pairs: Iterable[Row]) -> dict[str, set[str]]:
    """Stage to the ids of all units that pairs need of it."""
    units: dict[str, set[str]] = {}
    for pair in pairs:
        for role, unit in pair.units.items():
            units.setdefault(stage_of(role), set()).add(unit)
    return units


def _read_shard(
    layout: RunLayout, shard: tuple[str, str, int], planned: set[str], files: Files
) -> ShardState:
    stage, name, total = shard
    ledger = files.read(layout.ledger(stage, name), Ledger.read)
    told = ledger or files.read(layout.partial(stage, name), Ledger.read)
    results: Mapping[str, Result] = {} if told is None else told.units
    if not results.keys() <= planned:
        results = {unit: result for unit, result in results.items() if unit in planned}
    return ShardState(
        stage,
        name,
        total,
        results,
        finished=ledger is not None and len(results) == total,
        running=read_lease(layout.running(stage, name)),
        stats=files.read(layout.stats(stage, name), JobStats.read) or JobStats(),
    )
