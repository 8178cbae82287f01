"""The work of a shard: skip what is there, compute the rest, write the ledger last.

Stages know neither Snakemake nor paths. This module resolves keys, loads the networks only if a
unit is left, commits each unit by rename, keeps one unit's failure from touching the others, and
stops in time when asked to.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dispose_stages.batch.lease import Lease
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.settled import Settled
from dispose_stages.batch.stage import (
    Context,
    ForesightedWorker,
    InterruptedUnitError,
    LeasedRepository,
    Stage,
)
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import STORED_STAGES
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    DisposeError,
    Reason,
    UnitError,
)
from dispose_stages.faults import is_out_of_memory, machine_fault
from dispose_stages.store.sources import ContentMemory, unchanged
from dispose_stages.wording import printable

logger = logging.getLogger(__name__)

MACHINE_REASONS = frozenset({Reason.INTERNAL, Reason.OUT_OF_MEMORY})
"""Failures that another node may not have; all others lie in the data."""
ARTIFACT_LOST = "an artifact that it reads is lost; the same command makes it again"
POLL_SECONDS = 1.0
"""Between two looks at units that other jobs compute."""


class Runner:
    """One pass over the units of a shard.

    Args:
        stats: Of the shard; what is computed is added to its last attempt.
        on_progress: Called after every unit with what came of all so far, the unit and its result.
        on_begin: Called before every unit that is computed.

    Attributes:
        units: Those of the shard that this pass takes, taken one by one; None for all.
        fault: What is wrong with the machine, once that has shown.
    """

    def __init__(
        self,
        stage: Stage,
        shard: Shard,
        settled: Settled,
        context: Context,
        stats: JobStats,
        on_progress: Callable[[Counter[Status], Unit, Result], None],
        on_begin: Callable[[Unit], None],
    ) -> None:
        self.stage = stage
        self.shard = shard
        self.settled = settled
        self.context = context
        self.stats = stats
        self.on_progress = on_progress
        self.on_begin = on_begin
        self.units: Iterable[Unit] | None = None
        self._repository = stage.repository(context)
        self._leases: dict[str, Lease] = {}
        self._worker: Any = None
        self._opening = False
        self.fault = ""

    def run(self) -> Ledger:
        """Bring every unit to a result; units left when asked to stop are ``pending``."""
        results: dict[str, Result] = {}
        counts: Counter[Status] = Counter()
        for unit, result in self._results():
            results[unit.id] = result
            counts[result.status] += 1
            self.on_progress(counts, unit, result)
        return Ledger(self.shard.stage, self.shard.name, results)

    def _results(self) -> Iterator[tuple[Unit, Result]]:
        elsewhere: deque[Unit] = deque()
        for unit in self.shard.units if self.units is None else self.units:
            if result := self._blocked(unit) or self._result(self._ready(unit)):
                yield unit, result
            else:
                elsewhere.append(unit)
        while elsewhere:
            unit = elsewhere.popleft()
            if result := self._result(self._ready(unit)):
                yield unit, result
            else:
                elsewhere.append(unit)
                time.sleep(POLL_SECONDS)

    def _blocked(self, unit: Unit) -> Result | None:
        return self.settled.blocked(unit, self.stage.optional)

    def _ready(self, unit: Unit) -> Unit:
        return self.settled.ready(unit, self.stage.revision)

    def _result(self, unit: Unit) -> Result | None:
        """What comes of the unit; None while another job computes it."""
        try:
            return self._found_or_computed(unit)
        except InterruptedUnitError as error:
            return Result(Status.PENDING, key=unit.key, message=str(error))
        except Exception as error:
            if self.fault or not (fault := machine_fault(error)):
                return self._failure(unit, error)
            logger.exception("%s: the machine is at fault, not the unit", unit.label)
            self.fault = fault
            return self._halted(unit)

    def _halted(self, unit: Unit) -> Result:
        return Result(Status.PENDING, key=unit.key, message=self.fault)

    def _failure(self, unit: Unit, error: Exception) -> Result:
        """The result of a unit that raised.

        Raises:
            Exception: The set-up is wrong, so that no unit of this shard can be computed.
        """
        if isinstance(error, UnitError):
            logger.warning("%s failed: %s: %s", unit.label, error.reason, error)
            return Result(Status.FAILED, reason=error.reason, message=_one_line(error))
        if isinstance(error, ArtifactMissingError | ArtifactCorruptError):
            return self._artifact_lost(unit, error)
        if isinstance(error, DisposeError):
            raise error
        if self._opening:
            error.add_note(f"while loading the networks of {unit.stage}")
            raise error
        error.add_note(f"while computing {unit.stage} of {unit.label} (unit {unit.id})")
        logger.error("%s failed", unit.label, exc_info=error)
        reason = Reason.OUT_OF_MEMORY if is_out_of_memory(error) else Reason.INTERNAL
        return Result(Status.FAILED, reason=reason, message=_one_line(error, with_type=True))

    def _found_or_computed(self, unit: Unit) -> Result | None:
        if found := self._find(unit):
            return found
        if self.fault:
            return self._halted(unit)
        if self.context.stop_requested():
            return Result(Status.PENDING, key=unit.key, message="the job was asked to stop")
        if not isinstance(self._repository, LeasedRepository):
            return self._compute(unit)
        lease = self._leases.get(unit.id)
        if lease is None:
            lease = self._leases[unit.id] = Lease(self._repository.lease_path(unit))
        if not lease.acquire():
            return None
        with lease:  # whoever had it before may have finished meanwhile
            return self._find(unit) or self._compute(unit)

    def _find(self, unit: Unit) -> Result | None:
        found = self._repository.find(unit) or self.settled.before(unit)
        if found is not None:
            self.stats.attempts[-1].found += 1
        return found

    def _artifact_lost(self, unit: Unit, error: DisposeError) -> Result:
        """Drop the unusable upstream artifact; the unit waits until its stage has made it again."""
        logger.warning("%s: an artifact it reads is lost: %s", unit.label, error)
        for role, (stage, _) in unit.upstream.items():
            key = unit.inputs[role].key
            if stage in STORED_STAGES and not self.context.store.is_intact(stage, key):
                self.context.store.remove(stage, key)
        return Result(Status.PENDING, key=unit.key, message=ARTIFACT_LOST)

    def _compute(self, unit: Unit) -> Result:
        self.on_begin(unit)
        self._check_inputs(unit)
        worker = self._open()
        start = time.perf_counter()
        result = self._repository.commit(unit, self._artifact(worker, unit))
        self.stats.computed(unit.id, time.perf_counter() - start)
        return result

    def _artifact(self, worker: Any, unit: Unit) -> Any:
        """The unit's artifact, of sources that are what ingest saw."""
        media = unit.inputs.get("media")
        sources = {role: Path(path) for role, path in unit.sources.items()}
        seen = {role: unit.inputs.get(role, media) for role in sources}
        facts = {role: result.facts for role, result in seen.items() if result is not None}
        memory = ContentMemory(self.context.store.root / "ingest")
        with unchanged(sources, facts, memory):
            inputs = worker.read(unit)
            if isinstance(worker, ForesightedWorker) and (following := self._following(unit)):
                worker.expect(following)
            return worker.compute(**inputs)

    def _following(self, unit: Unit) -> Unit | None:
        """The next unit of the shard that is still to be computed, if that is known."""
        if self.units is not None:
            return None
        units = iter(self.shard.units)
        any(later.id == unit.id for later in units)  # up to this one
        waiting = (self._ready(later) for later in units if not self._blocked(later))
        return next((later for later in waiting if not self._repository.find(later)), None)

    def _check_inputs(self, unit: Unit) -> None:
        """Before networks are loaded for nothing.

        Raises:
            ArtifactMissingError: An artifact that it reads is gone.
        """
        for role, (stage, _) in unit.upstream.items():
            if stage not in STORED_STAGES or unit.inputs[role].status is not Status.DONE:
                continue
            path = self.context.store.path(stage, unit.inputs[role].key)
            if not path.exists():
                raise ArtifactMissingError(f"no artifact of {stage} at {path}")

    def _open(self) -> Any:
        if self._worker is None:
            start = time.perf_counter()
            self._opening = True
            self._worker = self.stage.open(self.context)
            self._opening = False
            attempt = self.stats.attempts[-1]
            attempt.loads += 1
            attempt.load_seconds = round(time.perf_counter() - start, 4)
            logger.info("networks of %s loaded in %.1f s", self.stage.name, attempt.load_seconds)
        return self._worker


def node_fault(ledger: Ledger) -> str:
    """Tells a bad node from bad units: what to say where every unit that was tried failed there."""
    tried = [r for r in ledger.units.values() if r.status in {Status.DONE, Status.FAILED}]
    if not tried or any(result.reason not in MACHINE_REASONS for result in tried):
        return ""
    return (
        f"all {len(tried)} units of {ledger.stage} shard {ledger.shard} failed "
        f"on this machine; the first: {tried[0].message}"
    )


def _one_line(error: BaseException, *, with_type: bool = False) -> str:
    text = printable(" ".join(str(error).split()))[:500] or type(error).__name__
    return f"{type(error).__name__}: {text}" if with_type else text
