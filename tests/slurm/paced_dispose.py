"""The command ``dispose`` of the tests: the real one, which waits where it is told to, with notes.

``<run>.gates.json`` in the working directory holds gates, each with the number of units that pass
it: of every job of a stage (``pose``), of the first attempt at one shard (``mux 0-of-4``), or of
denoising steps (``step``). A job waits there until the gate is taken away or it is asked to stop:
whatever is to happen to it then happens in the middle of a unit, on a machine of any speed. Notes
go to ``<run>.calls``, one line per event: ``event stage unit slurm-job process gpus``. The
variable ``NOTED_RUN`` names the run. Once ``<run>.late`` is there, `--until-time` has come.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from dispose_stages.batch import budget, job, lanes
from dispose_stages.batch.stage import InterruptedUnitError
from dispose_stages.cli import main, run

RUN = os.environ["NOTED_RUN"]
ARGUMENTS = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
load_stage = job.load_stage
snakemake_command, spent = run.snakemake_command, budget.spent


def passes(passed, *names):
    """Whether no gate of these names is closed for who has passed it so often."""
    gates = json.loads(Path(f"{RUN}.gates.json").read_text())
    return all(passed < gates.get(name, passed + 1) for name in names)


def wait_at(passed, *names, stage, stop_requested):
    """Wait until all gates are open, or the job is asked to stop.

    Raises:
        InterruptedUnitError: It was.
    """
    if passes(passed, *names):
        return
    note("wait", stage)
    while not passes(passed, *names):
        if stop_requested():
            raise InterruptedUnitError("stopped while it waited")
        time.sleep(0.1)


def note(event, stage, unit="-"):
    """Add a line; short appends do not mix."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") or "-"
    job = os.environ.get("SLURM_JOB_ID", "-")
    line = f"{event} {stage} {unit} {job} {os.getpid()} {gpu}\n"
    with Path(f"{RUN}.calls").open("a") as stream:
        stream.write(line)


class Noted:
    """A repository, worker or stage whose calls are noted; everything else is the original's."""

    def __init__(self, original, stage):
        self.original = original
        self.stage = stage

    def __getattr__(self, name):
        return getattr(self.original, name)


class NotedRepository(Noted):
    def commit(self, unit, artifact):
        committed = self.original.commit(unit, artifact)
        note("commit", self.stage, unit.id)
        return committed

    def find(self, unit):
        return self.original.find(unit)


class LeasedNotedRepository(NotedRepository):
    def lease_path(self, unit):
        return self.original.lease_path(unit)


class NotedWorker(Noted):
    def __init__(self, original, stage, context):
        super().__init__(original, stage)
        self.context = context
        self.begun = 0

    def read(self, unit):
        note("compute", self.stage, unit.id)
        gates = [self.stage]
        if ARGUMENTS["--attempt"] == "1":
            gates.append(f"{self.stage} {ARGUMENTS['--shard']}")
        stop_requested = self.context.stop_requested
        wait_at(self.begun, *gates, stage=self.stage, stop_requested=stop_requested)
        self.begun += 1
        return self.original.read(unit)


class NotedStage(Noted):
    def repository(self, context):
        original = self.original.repository(context)
        leased = hasattr(original, "lease_path")
        return (LeasedNotedRepository if leased else NotedRepository)(original, self.stage)

    def open(self, context):
        note("load", self.stage)
        return NotedWorker(self.original.open(context), self.stage, context)


def load_noted_stage(name):
    """A stage's real code, noted; the sampler has a gate between its steps."""
    if name == "sample":
        wait_between_steps()
    return NotedStage(load_stage(name), name)


def wait_between_steps():
    from dispose_stages.sample import stage

    save_every = stage.save_every

    def noted_save_every(interval, save, *, stop_requested, **options):
        after_step = save_every(interval, save, stop_requested=stop_requested, **options)

        def after_noted_step(state):
            after_step(state)  # saves, and ends the clip where that was asked for
            save.wait()
            if passes(state.step, "step"):
                return
            note("wait", "step")
            while not (passes(state.step, "step") or stop_requested()):
                time.sleep(0.1)
            after_step(state)

        return after_noted_step

    stage.save_every = noted_save_every


def spent_when_late(layout, began, gpu_hours, until):
    """Whatever the clock says."""
    late = Path(f"{RUN}.late").exists()
    return spent(layout, began, gpu_hours, began if late else until)


def impatient_command(*arguments, **options):
    """Of Snakemake, which asks for jobs' states every two seconds."""
    command = snakemake_command(*arguments, **options)
    return ["tests.slurm.impatient_snakemake" if w == "snakemake" else w for w in command]


if __name__ == "__main__":
    run.snakemake_command, budget.spent = impatient_command, spent_when_late
    job.load_stage = lanes.load_stage = load_noted_stage
    main(sys.argv[1:])
