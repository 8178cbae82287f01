"""Several GPUs in one job: a process per GPU, all at the units of one shard.

The job itself loads no network. It starts its own command once per GPU (a *lane*), which takes
units from a common queue until that is empty. What a lane computes lies in the store as ever; its
results go to a ledger of its own, from which the job makes the shard's. A lane that dies takes the
unit it was at with it, and what it told of its results; the others go on, and the next attempt
finds or computes these units.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.batch.gpus import gpu_count
from dispose_stages.batch.job import (
    EXIT_DONE,
    EXIT_FAILED,
    Job,
    OnProgress,
    hold_shard,
    load_stage,
    machine,
    perform_shard,
)
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import Lease, read_lease
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.machine import granted_threads
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.stats import Ending, JobStats
from dispose_stages.batch.stopping import StopSwitch, find_deadline
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import GPU_STAGES, Compute
from dispose_stages.errors import StoreError

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_NUMBER_BYTES = 4
_JOB_PROCESS = "DISPOSE_JOB_PROCESS"
"""Environment variable with which a lane is told whose it is."""
_DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux."""


def lane_gpus(compute: Compute, stage: str, environ: Mapping[str, str], count: int) -> list[str]:
    """What each lane's ``CUDA_VISIBLE_DEVICES`` is to be; empty where it takes a free GPU itself.

    Args:
        compute: Says how many are wanted.
        environ: Of the job; a scheduler names the GPUs that it gave.
        count: GPUs of the machine.

    Returns:
        An entry per lane; one or none where the job computes by itself.
    """
    wanted = compute.gpus_per_job
    if stage not in GPU_STAGES or compute.device == "cpu":
        return []
    if (named := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip()][:wanted]
    return [] if environ.get("SLURM_JOB_ID") else [""] * min(wanted, count)


def lane_name(shard: str, number: int) -> str:
    """Of the files that a lane writes."""
    return f"{shard}.lane{number}"


@contextmanager
def unit_queue(count: int) -> Iterator[int]:
    """A pipe from which whoever reads gets the next number below `count`, each once."""
    reading, writing = os.pipe()

    def fill() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as stream:
            for number in range(count):
                stream.write(number.to_bytes(_NUMBER_BYTES, "little"))

    threading.Thread(target=fill, name="units", daemon=True).start()
    try:
        yield reading
    finally:
        os.close(reading)


def taken(units: Sequence[Unit], queue: int, ended: Callable[[], bool]) -> Iterator[Unit]:
    """Units that this process takes from the queue, until it is empty or the process should end."""
    while not ended() and (number := os.read(queue, _NUMBER_BYTES)):
        yield units[int.from_bytes(number, "little")]


class Lanes:
    """The lanes of one job.

    Args:
        job: The attempt.
        gpus: From `lane_gpus`.
        command: That a lane is started with; ``--lane NUMBER --queue DESCRIPTOR`` is added.
    """

    def __init__(self, job: Job, gpus: Sequence[str], command: Sequence[str]) -> None:
        self._job = job
        self._gpus = gpus
        self._command = command
        self._names = [lane_name(job.shard.name, number) for number in range(len(gpus))]

    def perform(self, lease: Lease) -> int:
        """Run all lanes to their end and write the shard's ledger; returns the exit status."""
        job = self._job
        self._clear()
        job.attempt.gpus = len(self._gpus)
        with job.recorded(), unit_queue(len(job.shard.units)) as queue:
            lanes = [self._start(number, queue) for number in range(len(self._gpus))]
            _logger.info("%d units in %d processes", len(job.shard.units), len(lanes))
            self._watch(lanes, lease)
            for number, lane in enumerate(lanes):
                if lane.returncode:
                    _logger.warning("process %d ended with status %d", number, lane.returncode)
            results = self._results()
            if not results and all(lane.returncode for lane in lanes):
                return EXIT_FAILED  # each has said why
            status = job.end(Ledger(job.shard.stage, job.shard.name, results))
        self._clear()
        return status

    def _start(self, number: int, queue: int) -> subprocess.Popen[bytes]:
        threads = max(1, granted_threads(0, os.environ) // len(self._gpus))
        gpu = {"CUDA_VISIBLE_DEVICES": self._gpus[number]} if self._gpus[number] else {}
        return subprocess.Popen(  # noqa: S603 - no shell, this process's own command
            [*self._command, "--lane", str(number), "--queue", str(queue)],
            stdin=subprocess.DEVNULL,
            pass_fds=[queue],
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                _JOB_PROCESS: str(os.getpid()),
                **gpu,
            },
        )

    def _watch(self, lanes: Sequence[subprocess.Popen[bytes]], lease: Lease) -> None:
        told = False
        while any(lane.poll() is None for lane in lanes):
            if self._job.switch() and not told:
                told = True
                for lane in lanes:
                    lane.send_signal(signal.SIGTERM)
            self._tell(lease)
            time.sleep(_POLL_SECONDS)

    def _tell(self, lease: Lease) -> None:
        """What the lanes say of themselves, added up; of the units in hand the first lane's."""
        layout, stage = self._job.layout, self._job.shard.stage
        told = [each for name in self._names if (each := read_lease(layout.running(stage, name)))]
        counts = Counter({str(status): 0 for status in Status})
        for each in told:
            counts.update({s: n for s in counts if isinstance(n := each.get(s), int)})
        for each in reversed(told):
            shown = ("device", "unit", "label", "step", "steps")
            lease.say(**{name: each[name] for name in shown if name in each})
        lease.say(**counts, gpus=len(self._gpus), found=sum(e.get("found", 0) for e in told))

    def _results(self) -> dict[str, Result]:
        """What came of all units; those that a dead lane had are pending."""
        job, stage = self._job, self._job.shard.stage
        found: dict[str, Result] = {}
        for name in self._names:
            with suppress(StoreError):
                found |= Ledger.read(job.layout.partial(stage, name)).units
            self._add_stats(JobStats.read(job.layout.stats(stage, name)))
        if not found:
            return {}
        left = Result(Status.PENDING, message="the process that was at it ended early")
        return {unit.id: found.get(unit.id, left) for unit in job.shard.units}

    def _add_stats(self, stats: JobStats) -> None:
        self._job.stats.seconds |= stats.seconds
        self._job.stats.cards |= stats.cards
        mine = self._job.attempt
        for other in stats.attempts:
            mine.device, mine.gpu_driver = other.device, other.gpu_driver
            mine.gpu = mine.gpu or other.gpu
            mine.found, mine.computed = mine.found + other.found, mine.computed + other.computed
            mine.loads += other.loads
            mine.load_seconds = max(mine.load_seconds, other.load_seconds)
            mine.peak_gpu_memory = max(mine.peak_gpu_memory, other.peak_gpu_memory)

    def _clear(self) -> None:
        """Files of lanes, also those of a job that was killed."""
        layout, shard = self._job.layout, self._job.shard
        folder = layout.stats(shard.stage, shard.name).parent
        for path in folder.glob(f"{shard.name}.lane*"):
            path.unlink(missing_ok=True)


def perform_job(
    stage_name: str,
    run_dir: Path,
    shard_name: str,
    *,
    command: Sequence[str],
    attempt: int = 1,
    deadline: float | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> int:
    """`perform_shard`, with a process on each GPU where the job has several.

    Args:
        run_dir: ``<results>/<run>``.
        command: This process's own, for those processes.
        attempt: As counted by the caller, from 1.
        deadline: Unix time at which the job is killed; None asks SLURM.
        on_progress: Called with (done, total, label) after every unit.

    Raises:
        DisposeError: The set-up is wrong.
    """
    layout = RunLayout(run_dir)
    compute = read_run_config(layout).compute
    gpus = lane_gpus(compute, stage_name, os.environ, gpu_count())
    if len(gpus) < 2:
        return perform_shard(
            stage_name,
            run_dir,
            shard_name,
            attempt=attempt,
            deadline=deadline,
            on_progress=on_progress,
        )
    shard = Shard.read(layout.shard(stage_name, shard_name))
    switch = StopSwitch(deadline or find_deadline(os.environ), halt=layout.halt)
    job = Job(layout, shard, switch, attempt, on_progress)
    return hold_shard(job, Lanes(job, gpus, command).perform)


class LaneJob(Job):
    """A lane: part of a shard, whose results the job above puts together."""

    def end(self, ledger: Ledger) -> int:
        """Write the lane's own ledger."""
        self.attempt.outcome = Ending.DONE
        write_text(self.layout.partial(self.shard.stage, self.name), ledger.to_json())
        return EXIT_DONE


def perform_lane(
    stage_name: str,
    run_dir: Path,
    shard_name: str,
    number: int,
    queue: int,
    *,
    attempt: int = 1,
    deadline: float | None = None,
) -> int:
    """Compute what one lane takes from the queue; returns the exit status.

    Raises:
        DisposeError: The set-up is wrong.
    """
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)  # nobody would hear of the results
    if os.environ.get(_JOB_PROCESS, "") != str(os.getppid()):
        return EXIT_FAILED  # the job was killed before that was arranged
    layout = RunLayout(run_dir)
    config = read_run_config(layout)
    shard = Shard.read(layout.shard(stage_name, shard_name))
    switch = StopSwitch(deadline or find_deadline(os.environ), halt=layout.halt)
    name = lane_name(shard_name, number)
    job = LaneJob(layout, shard, switch, attempt, lambda *_: None, name)
    lease = job.lease()
    with switch.on_signals(), lease, machine(config, stage_name, switch) as device, job.recorded():
        lease.acquire()
        runner = job.runner(load_stage(stage_name), config, device, lease)
        runner.units = taken(shard.units, queue, lambda: switch() or bool(runner.fault))
        return job.end(runner.run())
