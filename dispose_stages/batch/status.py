"""Numbers about a run: units per stage and state, time per unit, time left, GPU-hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dispose_stages.batch.outcomes import RowCounts, RunOutcomes, ShardState
from dispose_stages.batch.unit import Status
from dispose_stages.config import STAGES

_TOLD = (Status.DONE, Status.FAILED, Status.BLOCKED)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Units of one stage.

    Attributes:
        stage: Its name.
        total: All units.
        done: With a result.
        running: In jobs that are alive, not finished yet.
        failed: Without a result, for a reason of their own.
        blocked: Without a result because something upstream failed.
        pending: All others.
        jobs: Jobs that are alive.
        seconds_per_unit: Mean over computed units; None before the first.
        gpu_seconds: Time of all attempts on a GPU.
    """

    stage: str
    total: int
    done: int
    running: int
    failed: int
    blocked: int
    pending: int
    jobs: int
    seconds_per_unit: float | None
    gpu_seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Work that is left, for one job; None where nothing is known of the stage."""
        left = self.running + self.pending
        if not left:
            return 0.0
        return None if self.seconds_per_unit is None else left * self.seconds_per_unit


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A whole run.

    Attributes:
        stages: In order of the data flow.
        rows: Rows of the manifest by how they stand.
        warned: Warning to number of pairs.
    """

    stages: tuple[StageStatus, ...]
    rows: RowCounts
    warned: Mapping[str, int]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self.rows.pending

    @property
    def seconds_left(self) -> float | None:
        """Estimate with as many jobs as run now; None where a stage has not computed anything."""
        left = [stage.seconds_left for stage in self.stages]
        known = [seconds for seconds in left if seconds is not None]
        jobs = max(1, sum(stage.jobs for stage in self.stages))
        return sum(known) / jobs if len(known) == len(left) else None

    @property
    def pairs_per_hour(self) -> float | None:
        """At the present number of jobs, once every stage is known."""
        seconds = [stage.seconds_per_unit for stage in self.stages if stage.total]
        pairs = self.rows.total - self.rows.rejected
        if not pairs or any(value is None for value in seconds):
            return None
        work = sum((stage.seconds_per_unit or 0.0) * stage.total for stage in self.stages)
        jobs = max(1, sum(stage.jobs for stage in self.stages))
        return 3600 * jobs * pairs / work if work else None

    @property
    def gpu_hours(self) -> float:
        """Used so far."""
        return sum(stage.gpu_seconds for stage in self.stages) / 3600

    @property
    def gpu_hours_left(self) -> float:
        """Forecast from the stages that have used a GPU."""
        stages = (stage for stage in self.stages if stage.gpu_seconds)
        return sum(stage.seconds_left or 0.0 for stage in stages) / 3600


def run_status(outcomes: RunOutcomes) -> RunStatus:
    """Count everything."""
    by_stage: dict[str, list[ShardState]] = {stage: [] for stage in STAGES}
    for shard in outcomes.shards:
        by_stage[shard.stage].append(shard)
    return RunStatus(
        stages=tuple(_stage_status(stage, s) for stage, s in by_stage.items() if s),
        rows=outcomes.counts(),
        warned=outcomes.warned(),
    )


def _stage_status(stage: str, shards: Iterable[ShardState]) -> StageStatus:
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    gpu_seconds = 0.0
    for shard in shards:
        counts.update(_shard_counts(shard))
        seconds += shard.stats.seconds.values()
        gpu_seconds += sum(a.seconds for a in shard.stats.attempts if a.device == "cuda")
    return StageStatus(
        stage=stage,
        total=counts["total"],
        done=counts["done"],
        running=counts["running"],
        failed=counts["failed"],
        blocked=counts["blocked"],
        pending=counts["pending"],
        jobs=counts["jobs"],
        seconds_per_unit=sum(seconds) / len(seconds) if seconds else None,
        gpu_seconds=gpu_seconds,
    )


def _shard_counts(shard: ShardState) -> Counter[str]:
    counts: Counter[str] = Counter(str(result.status) for result in shard.results.values())
    counts["total"] = shard.total
    alive = shard.running
    if alive is not None and not shard.finished:
        # What the units of a running job came to is told by its lease until there is a ledger.
        counts = Counter(total=shard.total, jobs=1, running=shard.total)
        for status in _TOLD:
            told = alive.get(str(status), 0)
            counts[status] = min(told if isinstance(told, int) else 0, counts["running"])
            counts["running"] -= counts[status]
        return counts
    told = sum(counts[status] for status in _TOLD)
    counts["pending"] = max(0, shard.total - told)
    return counts
