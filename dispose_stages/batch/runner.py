"""What a job does with a shard: skip what is there, compute the rest, write the ledger last.

Stages know neither Snakemake nor paths. They implement `Stage` and `Worker`; this module resolves
keys, loads the networks only if a unit is left, commits each unit by rename, keeps one unit's
failure from touching the others, and stops in time when asked to.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispose_stages.batch.lease import Lease
from dispose_stages.batch.ledger import Entry, Ledger, Shard, Status, artifact_key
from dispose_stages.batch.plan import Unit
from dispose_stages.batch.unit import (
    Committed,
    Context,
    InterruptedUnitError,
    LeasedRepository,
    ReadyUnit,
    Stage,
    Upstream,
    Worker,
)
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    DisposeError,
    Reason,
    UnitError,
)

logger = logging.getLogger(__name__)

MACHINE_REASONS = frozenset({Reason.INTERNAL, Reason.OUT_OF_MEMORY})
"""Failures that another node may not have; all others lie in the data."""
POLL_SECONDS = 1.0
"""Between two looks at units that other jobs compute."""


class ShardFailedError(DisposeError):
    """No unit of the shard could be computed for a reason that smells of the node or the set-up.

    Attributes:
        ledger: What would have been delivered.
    """

    def __init__(self, message: str, ledger: Ledger) -> None:
        super().__init__(message)
        self.ledger = ledger


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
        self._leases: dict[str, Lease] = {}
        self._worker: Worker | None = None
        self._opening = False

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
        ledger = Ledger(self.shard.stage, self.shard.name, entries)
        self._check_node(ledger)
        return ledger

    def _outcomes(self) -> Iterator[tuple[Unit, Entry]]:
        elsewhere: deque[Unit] = deque()
        for unit in self.shard.units:
            if entry := self._blocked(unit) or self._outcome(self._ready(unit)):
                yield unit, entry
            else:
                elsewhere.append(unit)
        while elsewhere:
            unit = elsewhere.popleft()
            if entry := self._outcome(self._ready(unit)):
                yield unit, entry
            else:
                elsewhere.append(unit)
                time.sleep(POLL_SECONDS)

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
            upstream[role] = Upstream(stage, entry.key, entry.digest, entry.facts, unit_id)
        key = artifact_key(
            unit,
            revision=self.stage.revision,
            weights=self.weights,
            upstream={role: item.digest for role, item in upstream.items()},
        )
        sources = {role: Path(path) for role, path in unit.sources.items()}
        return ReadyUnit(unit.stage, unit.id, unit.label, key, unit.params, sources, upstream)

    def _outcome(self, unit: ReadyUnit) -> Entry | None:
        """The unit's entry; None while another job computes it."""
        try:
            return self._found_or_computed(unit)
        except InterruptedUnitError as error:
            return Entry(Status.PENDING, key=unit.key, message=str(error))
        except UnitError as error:
            logger.warning("%s failed: %s: %s", unit.label, error.reason, error)
            return Entry(Status.FAILED, reason=error.reason, message=_one_line(error))
        except (ArtifactMissingError, ArtifactCorruptError) as error:
            logger.warning("%s failed: an artifact it reads is lost: %s", unit.label, error)
            return self._artifact_lost(unit, error)
        except DisposeError:
            raise  # the set-up is wrong: no unit of this shard can be computed
        except Exception as error:
            if self._opening:
                error.add_note(f"while loading the networks of {unit.stage}")
                raise  # the same would happen to every unit
            error.add_note(f"while computing {unit.stage} of {unit.label} (unit {unit.id})")
            logger.exception("%s failed", unit.label)
            message = _one_line(error, with_type=True)
            return Entry(Status.FAILED, reason=_machine_reason(error), message=message)

    def _found_or_computed(self, unit: ReadyUnit) -> Entry | None:
        if found := self._find(unit):
            return found
        if self.context.stop_requested():
            return Entry(Status.PENDING, key=unit.key, message="the job was asked to stop")
        if not isinstance(self._repository, LeasedRepository):
            return _done(self._compute(unit))
        lease = self._leases.get(unit.id)
        if lease is None:
            lease = self._leases[unit.id] = Lease(self._repository.lease_path(unit))
        if not lease.acquire():
            return None
        with lease:  # whoever had it before may have finished meanwhile
            return self._find(unit) or _done(self._compute(unit))

    def _find(self, unit: ReadyUnit) -> Entry | None:
        found = self._repository.find(unit)
        if found is None:
            return None
        self.stats.found += 1
        return _done(found)

    def _artifact_lost(self, unit: ReadyUnit, error: DisposeError) -> Entry:
        """Drop the unusable upstream artifact, so that its stage computes it again."""
        origin = ""
        for item in unit.upstream.values():
            # Ingest keeps facts only; they stand in its ledger.
            if item.stage == "ingest" or self.context.store.is_intact(item.stage, item.key):
                continue
            self.context.store.remove(item.stage, item.key)
            origin = origin or f"{item.stage}/{item.unit}"
        return Entry(
            Status.FAILED, reason=Reason.ARTIFACT_LOST, message=_one_line(error), origin=origin
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
            self._opening = True
            self._worker = self.stage.open(self.context)
            self._opening = False
            self.stats.loads += 1
            self.stats.load_seconds = round(time.perf_counter() - start, 4)
            logger.info("networks of %s loaded in %.1f s", self.stage.name, self.stats.load_seconds)
        return self._worker

    def _check_node(self, ledger: Ledger) -> None:
        tried = [e for e in ledger.units.values() if e.status in {Status.DONE, Status.FAILED}]
        if tried and all(e.reason in MACHINE_REASONS for e in tried):
            raise ShardFailedError(
                f"all {len(tried)} units of {self.shard.stage} shard {self.shard.name} failed "
                f"on this machine; the first: {tried[0].message}",
                ledger,
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
