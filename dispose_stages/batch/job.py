"""One job: a shard of one stage, from its plan file to its ledger.

Around `dispose_stages.batch.runner.Runner` this module settles what depends on the machine
(device, threads, GPU, time limit), keeps other jobs off the shard, and writes what outlives the
process: statistics, the ledger of an unfinished job, and last, by rename, the ledger itself.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

from dispose_stages.atomic import write_text
from dispose_stages.batch.gpus import free_gpu, gpu_count, lock_folder
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.lease import Lease
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.machine import (
    granted_threads,
    keep_threads_awake,
    limit_threads,
    settle_device,
)
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.runner import Runner, node_fault
from dispose_stages.batch.settled import Settled
from dispose_stages.batch.stage import Context, Stage
from dispose_stages.batch.stats import Attempt, Ending, JobStats
from dispose_stages.batch.stopping import StopSwitch, find_deadline
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import GPU_STAGES, Config
from dispose_stages.faults import machine_fault
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.weights.digests import DigestCache
from dispose_stages.weights.node_copy import node_folder

logger = logging.getLogger(__name__)

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_UNFINISHED = 75
"""Something is left; the same command continues (``EX_TEMPFAIL``)."""
BAD_NODE_ATTEMPTS = 3
"""After so many attempts that failed as a whole, the units are at fault and the rest goes on."""
SAVE_STATS_SECONDS = 30.0
_TOLD = 20
"""Latest failures that a running job's lease names, for those who look on."""
_LONGEST_TOLD = 200

OnProgress = Callable[[int, int, str], None]


def load_stage(name: str) -> Stage:
    """A stage's code, and nothing of the others."""
    gc.disable()
    try:
        return cast("Stage", importlib.import_module(f"dispose_stages.{name}.stage").STAGE)
    finally:
        # A quarter of a million objects that stay: not to be searched for garbage, nor at the end.
        gc.freeze()
        gc.enable()


class Job:
    """One attempt at a shard.

    Args:
        attempt: As counted by the caller, from 1.
        on_progress: Called with (done, total, label) after every unit.
        name: Of its files; None: that of the shard.

    Attributes:
        attempt: This one.
    """

    def __init__(
        self,
        layout: RunLayout,
        shard: Shard,
        switch: StopSwitch,
        attempt: int,
        on_progress: OnProgress,
        name: str | None = None,
    ) -> None:
        self.layout = layout
        self.shard = shard
        self.switch = switch
        self._on_progress = on_progress
        self.name = name or shard.name
        self._stats_path = layout.stats(shard.stage, self.name)
        self.stats = JobStats.read(self._stats_path)
        self.attempt = Attempt(attempt)
        self._saved_at = time.monotonic()

    def lease(self) -> Lease:
        """The right to do this, with what those who look on are told of it."""
        facts = {
            "stage": self.shard.stage,
            "shard": self.shard.name,
            "attempt": self.attempt.number,
            "started": self.attempt.started,
            "total": len(self.shard.units),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "label": "",
        }
        return Lease(self.layout.running(self.shard.stage, self.name), facts)

    def perform(self, stage: Stage, config: Config, device: str, lease: Lease) -> int:
        """Run the shard and write what is to be written; returns the exit status."""
        with self.recorded():
            return self.end(self.runner(stage, config, device, lease).run())

    def runner(self, stage: Stage, config: Config, device: str, lease: Lease) -> Runner:
        """What computes the units, in surroundings that are settled."""
        self.attempt.device = device
        lease.say(device=device)
        settled = Settled.read(self.layout, self.shard)
        known = DigestCache(Path(config.store) / "weights.json").known
        context = Context(
            config=config,
            store=ArtifactStore(Path(config.store)),
            models_root=node_folder(config.models, self.shard.stage, known),
            device=device,
            videos=self.layout.videos,
            stop_requested=self.switch,
            say_step=lambda step, steps: lease.say(step=step, steps=steps),
        )
        parts = (self.stats, self._progress(lease), self._begin(lease))
        return Runner(stage, self.shard, settled, context, *parts)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Note this attempt in the shard's statistics, however it ends."""
        self.stats.attempts.append(self.attempt)
        self.attempt.outcome = Ending.ERROR  # unless something better is known
        try:
            yield
        finally:
            # The disk may be full; that must not hide how the job ended.
            with suppress(OSError):
                self._save_stats()

    def end(self, ledger: Ledger) -> int:
        """Write what is to be written of the units' results; returns the exit status."""
        fault = node_fault(ledger)
        return self._bad_node(fault, ledger) if fault else self._finish(ledger)

    def _begin(self, lease: Lease) -> Callable[[Unit], None]:
        def report(unit: Unit) -> None:
            # `dispose logs` finds a pair's lines by these.
            logger.info("begins %s: %s", unit.id, unit.label)
            lease.say(unit=unit.id, label=unit.label[:_LONGEST_TOLD], step=0, steps=0)

        return report

    def _progress(self, lease: Lease) -> Callable[[Counter[Status], Unit, Result], None]:
        told: deque[tuple[str, str, str]] = deque(maxlen=_TOLD)

        def report(counts: Counter[Status], unit: Unit, result: Result) -> None:
            # A job that has computed nothing yet has as much time as any later one would have.
            known = self.stats.seconds.values() if self.attempt.computed else ()
            self.switch.unit_ended(max(known, default=0.0))
            if result.status is Status.FAILED:
                told.append((unit.id, str(result.reason), result.message[:_LONGEST_TOLD]))
            lease.say(
                **{str(status): count for status, count in counts.items()},
                found=self.attempt.found,
                told=list(told),
            )
            self._on_progress(counts.total(), len(self.shard.units), unit.label)
            if time.monotonic() - self._saved_at > SAVE_STATS_SECONDS:
                self._save_stats(outcome=Ending.RUNNING)

        return report

    def _finish(self, ledger: Ledger) -> int:
        pending = sum(entry.status is Status.PENDING for entry in ledger.units.values())
        partial = self.layout.partial(self.shard.stage, self.shard.name)
        if pending:
            self.attempt.outcome = Ending.UNFINISHED
            why = Counter(r.message for r in ledger.units.values() if r.status is Status.PENDING)
            for message, count in why.most_common():
                logger.warning("%d of %d units are left: %s", count, len(ledger.units), message)
            logger.warning("what is done is kept, and the same command continues")
            write_text(partial, ledger.to_json())
            return EXIT_UNFINISHED
        if self.attempt.outcome is not Ending.GIVEN_UP:
            self.attempt.outcome = Ending.DONE
        self._save_stats()
        partial.unlink(missing_ok=True)
        # Also rewritten when nothing changed: Snakemake wants outputs newer than their inputs.
        write_text(self.layout.ledger(self.shard.stage, self.shard.name), ledger.to_json())
        return EXIT_DONE

    def _bad_node(self, fault: str, ledger: Ledger) -> int:
        failures = self.stats.bad_nodes_in_a_row() + 1
        logger.error("%s (attempt %d of %d)", fault, failures, BAD_NODE_ATTEMPTS)
        if failures >= BAD_NODE_ATTEMPTS:
            logger.error("giving these units up so that everything else is delivered")
            self.attempt.outcome = Ending.GIVEN_UP
            return self._finish(ledger)
        self.attempt.outcome = Ending.BAD_NODE
        return EXIT_FAILED

    def _save_stats(self, outcome: Ending | None = None) -> None:
        settled = self.attempt.outcome
        self.attempt.measure()
        self.attempt.outcome = outcome or settled
        self.stats.write(self._stats_path)
        self.attempt.outcome = settled
        self._saved_at = time.monotonic()


@contextmanager
def machine(config: Config, stage: str, switch: StopSwitch) -> Iterator[str]:
    """Threads and GPU of this job; yields the device. Before the stage (and torch) is imported."""
    limit_threads(granted_threads(config.compute.threads, os.environ), os.environ)
    with ExitStack() as stack:
        if stage in GPU_STAGES and config.compute.device != "cpu":
            claim = free_gpu(
                os.environ, count=gpu_count(), folder=lock_folder(), stop_requested=switch
            )
            stack.enter_context(claim)
        device = settle_device(config.compute, stage)
        if device == "cpu":
            keep_threads_awake(os.environ)
        yield device


def perform_shard(
    stage_name: str,
    run_dir: Path,
    shard_name: str,
    *,
    attempt: int = 1,
    deadline: float | None = None,
    stage: Stage | None = None,
    on_progress: OnProgress = lambda *_: None,
    now: Callable[[], float] = time.time,
) -> int:
    """Bring every unit of a shard to an outcome.

    Args:
        run_dir: ``<results>/<run>``.
        attempt: As counted by the caller, from 1.
        deadline: Unix time at which the job is killed; None asks SLURM.
        stage: The stage's code; None imports it.
        on_progress: Called with (done, total, label) after every unit.
        now: Clock of the deadline, seconds since the epoch.

    Returns:
        0: the ledger is written. 1: everything failed in a way that smells of the machine; try on
        another. 75: asked to stop, or out of time; the same call continues.

    Raises:
        DisposeError: The set-up is wrong.
    """
    layout = RunLayout(run_dir)
    config = read_run_config(layout)
    shard = Shard.read(layout.shard(stage_name, shard_name))
    switch = StopSwitch(deadline or find_deadline(os.environ), now, layout.halt)
    job = Job(layout, shard, switch, attempt, on_progress)

    def compute(lease: Lease) -> int:
        with machine(config, stage_name, switch) as device:
            return job.perform(stage or load_stage(stage_name), config, device, lease)

    return hold_shard(job, compute)


def hold_shard(job: Job, compute: Callable[[Lease], int]) -> int:
    """Have a shard computed while no other job is at it; returns the exit status.

    Args:
        job: The attempt.
        compute: Does it.
    """
    lease = job.lease()
    try:
        with job.switch.on_signals():
            if not lease.wait(job.switch):
                logger.warning("asked to stop while another job has this shard")
                return EXIT_UNFINISHED
            with lease:
                return compute(lease)
    except Exception as error:
        if not (fault := machine_fault(error)):
            raise
        logger.exception("the job stops: %s; then the same command continues", fault)
        return EXIT_UNFINISHED
