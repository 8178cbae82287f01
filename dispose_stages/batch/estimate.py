"""What it takes to compute units: time, disk and inodes, from what earlier ones took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dispose_stages.batch.forecast import CACHED, KEPT, Verdict, reasons
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.needed import runs_beside
from dispose_stages.batch.prepare import PreparedRun
from dispose_stages.batch.stats import JobStats
from dispose_stages.config import GPU_STAGES, STAGES, STORED_STAGES
from dispose_stages.errors import StoreError
from dispose_stages.store.listing import stored_files

_SAMPLE = 200
"""Files that are looked at for a mean size."""
_FILES_PER_UNIT = {"ingest": 2, "mux": 2}
"""Facts and digest of a file; video and sidecar. Else one artifact."""
_FILES_PER_JOB = 6
"""Shard file, ledger, statistics, log, benchmark and Snakemake's record of them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stage was seen to take.

    Attributes:
        seconds: Per unit; None if it never was computed.
        load_seconds: To load its networks.
        device: On which most of it ran.
        size: Bytes of a result; None if there is none yet.
    """

    seconds: float | None = None
    load_seconds: float = 0.0
    device: str = ""
    size: float | None = None


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What a command would do in a stage.

    Attributes:
        stage: Its name.
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
    prepared: PreparedRun, verdicts: Mapping[str, Mapping[str, Verdict]]
) -> list[StageForecast]:
    """Every stage that has units, in the order of the data flow."""
    measured = _measure(prepared)
    return [
        _of_stage(prepared, stage, verdicts[stage], measured[stage])
        for stage in STAGES
        if verdicts[stage]
    ]


def gpu_hours(stages: Sequence[StageForecast]) -> float:
    """Of all stages that run on a GPU."""
    return sum(stage.seconds for stage in stages if stage.gpu) / 3600


def _of_stage(
    prepared: PreparedRun, stage: str, verdicts: Mapping[str, Verdict], seen: Measured
) -> StageForecast:
    compute = sum(verdict.computes for verdict in verdicts.values())
    shards = prepared.plan.shards(stage).values()
    jobs = sum(any(verdicts[unit.id].computes for unit in units) for units in shards)
    pace = seen.seconds
    if pace is None:
        pace = prepared.config.shards.seconds_per_unit.get(stage, 1.0)
    device = seen.device or prepared.config.compute.device
    files = _FILES_PER_UNIT.get(stage, 1) * compute + _FILES_PER_JOB * jobs
    return StageForecast(
        stage=stage,
        compute=compute,
        cached=sum(verdict.why == CACHED for verdict in verdicts.values()),
        kept=sum(verdict.why == KEPT for verdict in verdicts.values()),
        why=list(reasons(verdicts)),
        jobs=jobs,
        seconds=compute * pace + jobs * seen.load_seconds,
        measured=seen.seconds is not None,
        gpu=stage in GPU_STAGES and device != "cpu",
        bytes=None if seen.size is None else compute * seen.size,
        inodes=files,
    )


def _measure(prepared: PreparedRun) -> dict[str, Measured]:
    """By stage: by this run where it has computed any, else by the runs beside it."""
    own = prepared.layout
    others: list[RunLayout] = []
    if own.root.parent.is_dir():
        others = [
            run for run in runs_beside((own.root,)) if run.root.resolve() != own.root.resolve()
        ]
    store = Path(prepared.config.store)
    found: dict[str, Measured] = {}
    for stage in STAGES:
        seen = _measured_by(own, stage)
        for run in others:
            if seen.seconds is not None:
                break
            seen = _measured_by(run, stage)
        size = _video_size([own, *others]) if stage == "mux" else _artifact_size(store, stage)
        found[stage] = Measured(seen.seconds, seen.load_seconds, seen.device, size)
    return found


def _measured_by(layout: RunLayout, stage: str) -> Measured:
    """All jobs of a run's stage, also those of a former plan with other shards."""
    stats = [JobStats.read(path) for path in layout.existing(layout.stats, stage)]
    seconds = [value for each in stats for value in each.seconds.values()]
    if not seconds:
        return Measured()
    attempts = [attempt for each in stats for attempt in each.attempts]
    loads = [attempt.load_seconds for attempt in attempts if attempt.loads]
    on_gpu = sum(a.computed for a in attempts if a.device == "cuda")
    device = "cuda" if 2 * on_gpu > sum(a.computed for a in attempts) else "cpu"
    load = sum(loads) / len(loads) if loads else 0.0
    return Measured(sum(seconds) / len(seconds), load, device)


def _artifact_size(store: Path, stage: str) -> float | None:
    if stage not in STORED_STAGES:
        return None if stage != "ingest" else 1000.0
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
