"""Numbers about a run: units per stage and state, jobs alive, time left, GPU-hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispose_stages.batch.outcomes import RowCounts, RunOutcomes, ShardState
from dispose_stages.batch.stats import Attempt, Ending
from dispose_stages.batch.unit import Status
from dispose_stages.config import STAGES

_TOLD = (Status.DONE, Status.FAILED, Status.BLOCKED)
START_SECONDS = 8.0
"""What a job takes beside its units, until the first has shown it."""


@dataclass(frozen=True, slots=True)
class JobNow:
    """A job that is alive, as its lease says.

    Attributes:
        job: Of the scheduler; empty without one.
        unit: Id of the unit in hand.
        label: Of that unit, for people.
        step: Steps (or frames) of it that are done.
        steps: Of so many; 0 where it is not known.
    """

    stage: str
    shard: str
    host: str
    pid: int
    job: str
    unit: str = ""
    label: str = ""
    step: int = 0
    steps: int = 0

    @classmethod
    def of(cls, shard: ShardState) -> JobNow | None:
        """The job on a shard, if one is alive; leases are other processes' words."""
        if shard.running is None or shard.finished:
            return None
        texts = {
            name: str(shard.running.get(name, "")) for name in ("host", "job", "unit", "label")
        }
        numbers = {name: _count(shard.running.get(name)) for name in ("pid", "step", "steps")}
        return cls(shard.stage, shard.name, **texts, **numbers)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Units of one stage.

    Attributes:
        total: All units.
        done: With a result.
        running: In jobs that are alive, not finished yet.
        failed: Without a result, for a reason of their own.
        blocked: Without a result because something upstream failed.
        pending: All others.
        cached: Of `done`, those found in the store or done by an earlier command.
        jobs: Jobs that are alive.
        jobs_left: Jobs that have not begun.
        seconds_per_unit: Mean over computed units; None before the first.
        seconds_per_job: What a job takes beside its units; None before the first.
        gpu_seconds: Time of all attempts on a GPU.
    """

    stage: str
    total: int
    done: int
    running: int
    failed: int
    blocked: int
    pending: int
    cached: int
    jobs: tuple[JobNow, ...]
    jobs_left: int
    seconds_per_unit: float | None
    seconds_per_job: float | None
    gpu_seconds: float

    def seconds_left(self, prior: float | None = None) -> float | None:
        """Work that is left, for one job; None where nothing is known of the stage.

        Args:
            prior: Seconds per unit to expect before the first is measured.
        """
        left = self.running + self.pending
        pace = prior if self.seconds_per_unit is None else self.seconds_per_unit
        if not left:
            return 0.0
        if pace is None:
            return None
        start = START_SECONDS if self.seconds_per_job is None else self.seconds_per_job
        return left * pace + self.jobs_left * start


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A whole run.

    Attributes:
        stages: In order of the data flow.
        rows: Rows of the manifest by how they stand.
        warned: Warning to number of pairs.
        prior: Stage to the seconds per unit to expect before the first is measured.
    """

    stages: tuple[StageStatus, ...]
    rows: RowCounts
    warned: Mapping[str, int]
    prior: Mapping[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self.rows.pending

    @property
    def jobs(self) -> tuple[JobNow, ...]:
        """All that are alive."""
        return tuple(job for stage in self.stages for job in stage.jobs)

    @property
    def seconds_left(self) -> float | None:
        """Over all stages, with as many jobs as run now; None where nothing is known of one."""
        left = [stage.seconds_left(self.prior.get(stage.stage)) for stage in self.stages]
        known = [seconds for seconds in left if seconds is not None]
        return sum(known) / max(1, len(self.jobs)) if len(known) == len(left) else None

    @property
    def guessed(self) -> bool:
        """Whether `seconds_left` counts a stage that was not measured here yet."""
        stages = (stage for stage in self.stages if stage.running or stage.pending)
        return any(stage.seconds_per_unit is None for stage in stages)

    @property
    def pairs_per_hour(self) -> float | None:
        """At the present number of jobs, once every stage is known."""
        seconds = [stage.seconds_per_unit for stage in self.stages if stage.total]
        pairs = self.rows.total - self.rows.rejected
        if not pairs or any(value is None for value in seconds):
            return None
        work = sum((stage.seconds_per_unit or 0.0) * stage.total for stage in self.stages)
        return 3600 * max(1, len(self.jobs)) * pairs / work if work else None

    @property
    def gpu_hours(self) -> float:
        """Used so far."""
        return sum(stage.gpu_seconds for stage in self.stages) / 3600

    @property
    def gpu_hours_left(self) -> float:
        """Forecast from the stages that have used a GPU."""
        stages = (stage for stage in self.stages if stage.gpu_seconds)
        return sum(stage.seconds_left() or 0.0 for stage in stages) / 3600


def run_status(
    outcomes: RunOutcomes, prior: Mapping[str, float] | None = None, since: float = 0.0
) -> RunStatus:
    """Count everything.

    Args:
        prior: Stage to the seconds per unit to expect before the first is measured.
        since: Unix time at which the present command began; what was done before is cached.
    """
    by_stage: dict[str, list[ShardState]] = {stage: [] for stage in STAGES}
    for shard in outcomes.shards:
        by_stage[shard.stage].append(shard)
    return RunStatus(
        stages=tuple(_stage_status(stage, s, since) for stage, s in by_stage.items() if s),
        rows=outcomes.counts(),
        warned=outcomes.warned(),
        prior=prior or {},
    )


def _stage_status(stage: str, shards: Iterable[ShardState], since: float) -> StageStatus:
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    attempts: list[Attempt] = []
    jobs: list[JobNow] = []
    for shard in shards:
        counts.update(_shard_counts(shard, since))
        seconds += shard.stats.seconds.values()
        attempts += (a for a in shard.stats.attempts if a.outcome is not Ending.RUNNING)
        jobs += [job] if (job := JobNow.of(shard)) else []
    beside = max(0.0, sum(attempt.seconds for attempt in attempts) - sum(seconds))
    return StageStatus(
        stage=stage,
        total=counts["total"],
        done=counts["done"],
        running=counts["running"],
        failed=counts["failed"],
        blocked=counts["blocked"],
        pending=counts["pending"],
        cached=counts["cached"],
        jobs=tuple(jobs),
        jobs_left=counts["jobs_left"],
        seconds_per_unit=sum(seconds) / len(seconds) if seconds else None,
        seconds_per_job=beside / len(attempts) if attempts else None,
        gpu_seconds=sum(a.seconds * a.gpus for a in attempts if a.device == "cuda"),
    )


def _shard_counts(shard: ShardState, since: float) -> Counter[str]:
    alive = shard.running
    if alive is not None and not shard.finished:
        # What the units of a running job came to is told by its lease until there is a ledger.
        counts = Counter(total=shard.total, running=shard.total)
        for status in _TOLD:
            counts[status] = min(_count(alive.get(str(status))), counts["running"])
            counts["running"] -= counts[status]
        counts["cached"] = min(_count(alive.get("found")), counts["done"])
        return counts
    counts = Counter(str(result.status) for result in shard.results.values())
    told = sum(counts[status] for status in _TOLD)
    computed = sum(a.computed for a in shard.stats.attempts if a.started >= since)
    counts["total"] = shard.total
    counts["pending"] = max(0, shard.total - told)
    counts["cached"] = max(0, counts["done"] - computed)
    counts["jobs_left"] = int(not shard.finished)
    return counts


def _count(value: Any) -> int:
    return max(0, value) if isinstance(value, int) else 0
