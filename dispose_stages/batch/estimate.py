"""What it takes to compute units: time, disk and inodes, from what earlier ones took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dispose_stages.batch.forecast import CACHED, KEPT, computes
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.needed import other_runs
from dispose_stages.batch.prepare import PreparedRun
from dispose_stages.batch.stats import JobStats
from dispose_stages.config import GPU_STAGES, STAGES
from dispose_stages.errors import StoreError
from dispose_stages.store.listing import stored_files

_SAMPLE = 200
"""Files that are looked at for a mean size."""
_FILES_PER_UNIT = {"ingest": 2, "mux": 2}
"""Facts and digest of a file; video and sidecar. Else one artifact."""
_BYTES_OF_FACTS = 1000.0
_FILES_PER_JOB = 6
"""Shard file, ledger, statistics, log, benchmark and Snakemake's record of them."""


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What a command would do in a stage.

    Attributes:
        compute: Units.
        cached: Units whose result is there.
        kept: Units that failed and stay so.
        why: Reasons to compute, the commonest first, with their numbers.
        jobs: That compute something.
        seconds: Of all of it; from `shards.seconds_per_unit` where nothing is measured.
        measured: Whether seconds per unit are measured.
        gpu: Whether it counts as GPU time.
        bytes: On disk; None where no size is known.
        inodes: Files.
    """

    stage: str
    compute: int
    cached: int
    kept: int
    why: Sequence[tuple[str, int]]
    jobs: int
    seconds: float
    measured: bool
    gpu: bool
    bytes: float | None
    inodes: int


def stage_forecasts(
    prepared: PreparedRun, reasons: Mapping[str, Mapping[str, str]]
) -> list[StageForecast]:
    """Every stage that has units, in the order of the data flow."""
    runs = [prepared.layout, *other_runs(prepared.layout)]
    return [_of_stage(prepared, stage, reasons[stage], runs) for stage in STAGES if reasons[stage]]


def gpu_hours(stages: Sequence[StageForecast]) -> float:
    """Of all stages that run on a GPU."""
    return sum(stage.seconds for stage in stages if stage.gpu) / 3600


def _of_stage(
    prepared: PreparedRun,
    stage: str,
    reasons: Mapping[str, str],
    runs: Sequence[RunLayout],
) -> StageForecast:
    seen, size = _measured(runs, stage), _size(prepared, stage, runs)
    counts = Counter(reasons.values())
    why = [(reason, count) for reason, count in counts.items() if computes(reason)]
    compute = sum(count for _, count in why)
    shards = prepared.plan.shards(stage).values()
    jobs = sum(any(computes(reasons[unit.id]) for unit in units) for units in shards)
    pace = seen.seconds_per_unit
    if pace is None:
        pace = prepared.config.shards.seconds_per_unit.get(stage, 1.0)
    device = seen.device or prepared.config.compute.device
    files = _FILES_PER_UNIT.get(stage, 1) * compute + _FILES_PER_JOB * jobs
    return StageForecast(
        stage=stage,
        compute=compute,
        cached=counts[CACHED],
        kept=counts[KEPT],
        why=sorted(why, key=lambda item: (-item[1], item[0])),
        jobs=jobs,
        seconds=compute * pace + jobs * seen.load_seconds,
        measured=bool(seen.seconds),
        gpu=stage in GPU_STAGES and device != "cpu",
        bytes=None if size is None else compute * size,
        inodes=files,
    )


def _measured(runs: Sequence[RunLayout], stage: str) -> JobStats:
    """What a stage took in the first run that has computed any of it, by whatever plan."""
    for layout in runs:
        stats = JobStats.joined(map(JobStats.read, layout.existing(layout.stats, stage)))
        if stats.seconds:
            return stats
    return JobStats()


def _size(prepared: PreparedRun, stage: str, runs: Sequence[RunLayout]) -> float | None:
    """Bytes of a result; None if there is none yet."""
    if stage == "mux":
        return _video_size(runs)
    if stage == "ingest":
        return _BYTES_OF_FACTS
    store = Path(prepared.config.store)
    files = (file.size for file in stored_files(store, (stage,)) if file.finished)
    sizes = list(islice(files, _SAMPLE))
    return sum(sizes) / len(sizes) if sizes else None


def _video_size(runs: Sequence[RunLayout]) -> float | None:
    """Mean of the first run that has delivered any."""
    for layout in runs:
        sizes: list[float] = []
        for path in layout.existing(layout.ledger, "mux")[:_SAMPLE]:
            try:
                results = Ledger.read(path).units.values()
            except StoreError:
                continue
            facts = (result.facts.get("size_bytes") for result in results)
            sizes += [size for size in facts if isinstance(size, int | float)]
        if sizes:
            return sum(sizes) / len(sizes)
    return None
