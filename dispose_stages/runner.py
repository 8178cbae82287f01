"""What a job does with a shard: skip what is there, compute the rest, write the ledger last.

Stages know neither Snakemake nor paths. They implement `Stage` and `Worker`; this module resolves
keys, loads the networks only if a unit is left, commits each unit by rename, keeps one unit's
failure from touching the others, and stops in time when asked to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from dispose_stages.config import Config
from dispose_stages.errors import DisposeError, Reason, UnitError
from dispose_stages.ledger import Entry, Ledger, Shard, Status, artifact_key
from dispose_stages.plan import Unit
from dispose_stages.store.artifacts import ArtifactStore

logger = logging.getLogger(__name__)

MACHINE_REASONS = frozenset({Reason.INTERNAL, Reason.OUT_OF_MEMORY})
"""Failures that another node may not have; all others lie in the data."""


class InterruptedUnitError(DisposeError):
    """A unit stopped early because the job was asked to; its saved state is kept."""


class ShardFailedError(DisposeError):
    """No unit of the shard could be computed for a reason that smells of the node or the set-up."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An artifact a unit reads.

    Attributes:
        stage: Where it comes from.
        key: Under which the store holds it.
        digest: Of its content.
        facts: What its ledger entry says beside.
    """

    stage: str
    key: str
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadyUnit:
    """A unit whose inputs are all there.

    Attributes:
        stage: Which stage.
        id: Unit id; the pair's id for ``mux``.
        label: For people.
        key: Identity of its artifact.
        params: Plain values the stage reads.
        sources: Role to file.
        upstream: Role to artifact.
    """

    stage: str
    id: str
    label: str
    key: str
    params: Mapping[str, Any]
    sources: Mapping[str, Path]
    upstream: Mapping[str, Upstream]

    def attributes(self) -> dict[str, Any]:
        """What went into the artifact, for its own metadata."""
        return {
            "unit": self.id,
            "params": dict(self.params),
            "upstream": {
                role: {"stage": item.stage, "key": item.key, "digest": item.digest}
                for role, item in self.upstream.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Committed:
    """An artifact that is safely there.

    Attributes:
        key: Identity, as the ledger names it.
        digest: Of its content.
        facts: Small plain results for later stages.
    """

    key: str
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Context:
    """What a stage may use of its surroundings.

    Attributes:
        config: The run's configuration.
        store: Artifacts of all stages.
        models_root: Folder of the checkpoints.
        device: ``cuda`` or ``cpu``, settled.
        videos: Folder of the delivered videos.
        stop_requested: True once the job should end: preemption, time limit, interrupt.
        notes: Per-unit remarks for the stats (memory rung, batch), filled by the worker.
    """

    config: Config
    store: ArtifactStore
    models_root: Path
    device: str
    videos: Path
    stop_requested: Callable[[], bool] = lambda: False
    notes: dict[str, Any] = field(default_factory=dict)


class Worker(Protocol):
    """A stage with its networks loaded."""

    def compute(self, unit: ReadyUnit) -> Any:
        """The unit's artifact, not yet committed.

        Raises:
            UnitError: The unit's data are at fault.
            InterruptedUnitError: `Context.stop_requested` became true.
        """
        ...


class Repository(Protocol):
    """Where a stage's results are kept."""

    def find(self, unit: ReadyUnit) -> Committed | None:
        """The valid result, if it is there."""
        ...

    def commit(self, unit: ReadyUnit, artifact: Any) -> Committed:
        """Store a result atomically."""
        ...


class Stage(Protocol):
    """A stage of the pipeline."""

    name: ClassVar[str]
    revision: ClassVar[int]

    def repository(self, context: Context) -> Repository:
        """Where results are kept."""
        ...

    def open(self, context: Context) -> Worker:
        """Load what `Worker.compute` needs; called at most once per job."""
        ...


class ArtifactRepository:
    """The usual repository: one zarr artifact per unit."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def find(self, unit: ReadyUnit) -> Committed | None:
        """The artifact's digest if the store holds a readable one."""
        digest = self._store.digest(unit.stage, unit.key)
        return Committed(unit.key, digest) if digest else None

    def commit(self, unit: ReadyUnit, artifact: Any) -> Committed:
        """Write the artifact."""
        digest = self._store.write(unit.stage, unit.key, artifact, unit.attributes())
        return Committed(unit.key, digest)


@dataclass(slots=True)
class ShardStats:
    """What the ledger does not say: it differs from run to run.

    Attributes:
        seconds: Per computed unit.
        notes: Per computed unit, what the worker remarked.
        found: Units whose artifact was there already.
        loads: How often the networks were loaded (0 or 1).
        load_seconds: Seconds that took.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: int = 0
    loads: int = 0
    load_seconds: float = 0.0


class ShardRun:
    """One pass over the units of a shard.

    Args:
        stage: The stage's code.
        shard: The units.
        upstream: Ledgers of the upstream stages, merged by stage and unit id.
        weights: Digest over the stage's checkpoint files.
        context: Surroundings.
        on_progress: Called with (done, total, label) after every unit.
    """

    def __init__(
        self,
        stage: Stage,
        shard: Shard,
        upstream: Mapping[str, Mapping[str, Entry]],
        weights: str,
        context: Context,
        on_progress: Callable[[int, int, str], None] = lambda *_: None,
    ) -> None:
        self.stage = stage
        self.shard = shard
        self.upstream = upstream
        self.weights = weights
        self.context = context
        self.on_progress = on_progress
        self.stats = ShardStats()
        self._repository = stage.repository(context)
        self._worker: Worker | None = None

    def run(self) -> Ledger:
        """Bring every unit to an outcome; units left when asked to stop are ``pending``.

        Raises:
            ShardFailedError: Every unit that was tried failed for a reason of the machine.
        """
        entries: dict[str, Entry] = {}
        total = len(self.shard.units)
        for done, (unit, entry) in enumerate(self._outcomes(), start=1):
            entries[unit.id] = entry
            self.on_progress(done, total, unit.label)
        self._check_node(entries)
        return Ledger(self.shard.stage, self.shard.name, entries)

    def _outcomes(self) -> Iterator[tuple[Unit, Entry]]:
        for unit in self.shard.units:
            yield unit, self._blocked(unit) or self._outcome(self._ready(unit))

    def _blocked(self, unit: Unit) -> Entry | None:
        """The entry of a unit whose inputs failed or are not there yet."""
        for stage, unit_id in unit.upstream.values():
            entry = self.upstream.get(stage, {}).get(unit_id)
            if entry is None or entry.status is Status.PENDING:
                return Entry(Status.PENDING, message=f"waits for {stage}")
            if entry.status is Status.DONE:
                continue
            origin = entry.origin or f"{stage}/{unit_id}"
            reason = entry.facts.get("root_reason") or str(entry.reason)
            return Entry(
                Status.BLOCKED,
                reason=Reason.UPSTREAM,
                message=entry.message,
                origin=origin,
                facts={"root_reason": reason},
            )
        return None

    def _ready(self, unit: Unit) -> ReadyUnit:
        upstream = {}
        for role, (stage, unit_id) in unit.upstream.items():
            entry = self.upstream[stage][unit_id]
            upstream[role] = Upstream(stage, entry.key, entry.digest, entry.facts)
        key = artifact_key(
            unit,
            revision=self.stage.revision,
            weights=self.weights,
            upstream={role: item.digest for role, item in upstream.items()},
        )
        sources = {role: Path(path) for role, path in unit.sources.items()}
        return ReadyUnit(unit.stage, unit.id, unit.label, key, unit.params, sources, upstream)

    def _outcome(self, unit: ReadyUnit) -> Entry:
        try:
            found = self._repository.find(unit)
            if found is not None:
                self.stats.found += 1
                return _done(found)
            if self.context.stop_requested():
                return Entry(Status.PENDING, key=unit.key, message="the job was asked to stop")
            return _done(self._compute(unit))
        except InterruptedUnitError as error:
            return Entry(Status.PENDING, key=unit.key, message=str(error))
        except UnitError as error:
            logger.warning("%s failed: %s: %s", unit.label, error.reason, error)
            return Entry(Status.FAILED, reason=error.reason, message=_one_line(error))
        except DisposeError:
            raise  # the set-up is wrong: no unit of this shard can be computed
        except Exception as error:
            error.add_note(f"while computing {unit.stage} of {unit.label} (unit {unit.id})")
            logger.exception("%s failed", unit.label)
            return Entry(
                Status.FAILED,
                reason=_machine_reason(error),
                message=_one_line(error, with_type=True),
            )

    def _compute(self, unit: ReadyUnit) -> Committed:
        worker = self._open()
        self.context.notes = {}
        start = time.perf_counter()
        committed = self._repository.commit(unit, worker.compute(unit))
        self.stats.seconds[unit.id] = round(time.perf_counter() - start, 4)
        if self.context.notes:
            self.stats.notes[unit.id] = dict(self.context.notes)
        return committed

    def _open(self) -> Worker:
        if self._worker is None:
            start = time.perf_counter()
            self._worker = self.stage.open(self.context)
            self.stats.loads += 1
            self.stats.load_seconds = round(time.perf_counter() - start, 4)
            logger.info("networks of %s loaded in %.1f s", self.stage.name, self.stats.load_seconds)
        return self._worker

    def _check_node(self, entries: Mapping[str, Entry]) -> None:
        tried = [e for e in entries.values() if e.status in {Status.DONE, Status.FAILED}]
        if tried and all(e.reason in MACHINE_REASONS for e in tried):
            raise ShardFailedError(
                f"all {len(tried)} units of {self.shard.stage} shard {self.shard.name} failed "
                f"on this machine; the first: {tried[0].message}"
            )


def _done(result: Committed) -> Entry:
    return Entry(Status.DONE, key=result.key, digest=result.digest, facts=result.facts)


def _machine_reason(error: Exception) -> Reason:
    # torch is not imported here, so its out-of-memory error is known by name.
    names = {base.__name__ for base in type(error).__mro__}
    return Reason.OUT_OF_MEMORY if names & {"OutOfMemoryError", "MemoryError"} else Reason.INTERNAL


def _one_line(error: BaseException, *, with_type: bool = False) -> str:
    text = " ".join(str(error).split())[:500] or type(error).__name__
    return f"{type(error).__name__}: {text}" if with_type else text
