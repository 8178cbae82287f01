"""One job: a shard of one stage, from its plan file to its ledger.

Around `dispose_stages.batch.runner.Runner` this module settles what depends on the machine
(device, threads, GPU, time limit), keeps other jobs off the shard, and writes what outlives the
process: statistics, the ledger of an unfinished job, and last, by rename, the ledger itself.
"""

from __future__ import annotations

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
from dispose_stages.batch.machine import granted_threads, limit_threads, settle_device
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.runner import Runner, ShardFailedError
from dispose_stages.batch.settled import Settled
from dispose_stages.batch.stage import Context, Stage
from dispose_stages.batch.stats import Attempt, Ending, JobStats
from dispose_stages.batch.stopping import StopSwitch, find_deadline
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import GPU_STAGES, Config
from dispose_stages.faults import machine_fault
from dispose_stages.store.artifacts import ArtifactStore

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
    return cast("Stage", importlib.import_module(f"dispose_stages.{name}.stage").STAGE)


class Job:
    """One attempt at a shard.

    Args:
        attempt: As counted by the caller, from 1.
        on_progress: Called with (done, total, label) after every unit.
    """

    def __init__(
        self,
        stage: Stage,
        layout: RunLayout,
        shard: Shard,
        switch: StopSwitch,
        attempt: int,
        on_progress: OnProgress,
    ) -> None:
        self._stage = stage
        self._layout = layout
        self._shard = shard
        self._switch = switch
        self._on_progress = on_progress
        self._stats_path = layout.stats(shard.stage, shard.name)
        self._stats = JobStats.read(self._stats_path)
        self._attempt = Attempt(attempt)
        self._saved_at = time.monotonic()

    def perform(self, config: Config, device: str, lease: Lease) -> int:
        """Run the shard and write what is to be written; returns the exit status."""
        self._attempt.device = device
        lease.say(device=device)
        self._stats.attempts.append(self._attempt)
        self._attempt.outcome = Ending.ERROR  # unless something better is known
        try:
            context = Context(
                config=config,
                store=ArtifactStore(Path(config.store)),
                models_root=config.models.folder,
                device=device,
                videos=self._layout.videos,
                stop_requested=self._switch,
                say_step=lambda step, steps: lease.say(step=step, steps=steps),
            )
            run = Runner(
                self._stage,
                self._shard,
                Settled.read(self._layout, self._shard),
                context,
                self._stats,
                self._progress(lease),
                self._begin(lease),
            )
            return self._finish(run.run())
        except ShardFailedError as error:
            return self._bad_node(error)
        finally:
            # The disk may be full; that must not hide how the job ended.
            with suppress(OSError):
                self._save_stats()

    def _begin(self, lease: Lease) -> Callable[[Unit], None]:
        def report(unit: Unit) -> None:
            # `dispose logs` finds a pair's lines by these.
            logger.info("begins %s: %s", unit.id, unit.label)
            lease.say(unit=unit.id, label=unit.label[:_LONGEST_TOLD], step=0, steps=0)

        return report

    def _progress(self, lease: Lease) -> Callable[[Counter[Status], Unit, Result], None]:
        told: deque[tuple[str, str, str]] = deque(maxlen=_TOLD)

        def report(counts: Counter[Status], unit: Unit, result: Result) -> None:
            self._switch.unit_ended(max(self._stats.seconds.values(), default=0.0))
            if result.status is Status.FAILED:
                told.append((unit.id, str(result.reason), result.message[:_LONGEST_TOLD]))
            lease.say(
                **{str(status): count for status, count in counts.items()},
                found=self._attempt.found,
                told=list(told),
            )
            self._on_progress(counts.total(), len(self._shard.units), unit.label)
            if time.monotonic() - self._saved_at > SAVE_STATS_SECONDS:
                self._save_stats(outcome=Ending.RUNNING)

        return report

    def _finish(self, ledger: Ledger) -> int:
        pending = sum(entry.status is Status.PENDING for entry in ledger.units.values())
        partial = self._layout.partial(self._shard.stage, self._shard.name)
        if pending:
            self._attempt.outcome = Ending.UNFINISHED
            why = Counter(r.message for r in ledger.units.values() if r.status is Status.PENDING)
            for message, count in why.most_common():
                logger.warning("%d of %d units are left: %s", count, len(ledger.units), message)
            logger.warning("what is done is kept, and the same command continues")
            write_text(partial, ledger.to_json())
            return EXIT_UNFINISHED
        if self._attempt.outcome is not Ending.GIVEN_UP:
            self._attempt.outcome = Ending.DONE
        self._save_stats()
        partial.unlink(missing_ok=True)
        # Also rewritten when nothing changed: Snakemake wants outputs newer than their inputs.
        write_text(self._layout.ledger(self._shard.stage, self._shard.name), ledger.to_json())
        return EXIT_DONE

    def _bad_node(self, error: ShardFailedError) -> int:
        failures = self._stats.bad_nodes_in_a_row() + 1
        logger.error("%s (attempt %d of %d)", error, failures, BAD_NODE_ATTEMPTS)
        if failures >= BAD_NODE_ATTEMPTS:
            logger.error("giving these units up so that everything else is delivered")
            self._attempt.outcome = Ending.GIVEN_UP
            return self._finish(error.ledger)
        self._attempt.outcome = Ending.BAD_NODE
        return EXIT_FAILED

    def _save_stats(self, outcome: Ending | None = None) -> None:
        settled = self._attempt.outcome
        self._attempt.measure()
        self._attempt.outcome = outcome or settled
        self._stats.write(self._stats_path)
        self._attempt.outcome = settled
        self._saved_at = time.monotonic()


@contextmanager
def _machine(config: Config, stage: str, switch: StopSwitch) -> Iterator[str]:
    """Threads and GPU of this job; yields the device. Before the stage (and torch) is imported."""
    limit_threads(granted_threads(config.compute.threads, os.environ), os.environ)
    with ExitStack() as stack:
        if stage in GPU_STAGES and config.compute.device != "cpu":
            claim = free_gpu(
                os.environ, count=gpu_count(), folder=lock_folder(), stop_requested=switch
            )
            stack.enter_context(claim)
        yield settle_device(config.compute, stage)


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
    if deadline is None:
        deadline = find_deadline(os.environ)
    switch = StopSwitch(deadline, now, layout.halt)
    lease = Lease(
        layout.running(stage_name, shard_name),
        {
            "stage": stage_name,
            "shard": shard_name,
            "attempt": attempt,
            "total": len(shard.units),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "label": "",
        },
    )
    try:
        with switch.on_signals():
            if not lease.wait(switch):
                logger.warning("asked to stop while another job has this shard")
                return EXIT_UNFINISHED
            with lease, _machine(config, stage_name, switch) as device:
                code = stage or load_stage(stage_name)
                job = Job(code, layout, shard, switch, attempt, on_progress)
                return job.perform(config, device, lease)
    except Exception as error:
        if not (fault := machine_fault(error)):
            raise
        logger.exception("the job stops: %s; then the same command continues", fault)
        return EXIT_UNFINISHED
