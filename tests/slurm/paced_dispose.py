"""The command ``dispose`` of the tests: the real one, slowed down and taking notes.

``<run>.pace.json`` in the working directory says how many seconds a unit of a stage (or a denoising
step: ``step``) takes at least. Notes go to ``<run>.calls``, one line per event:
``event stage unit slurm-job process``. The variable ``NOTED_RUN`` names the run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from dispose_stages.batch import job
from dispose_stages.cli import main

RUN = os.environ["NOTED_RUN"]
PACE = json.loads(Path(f"{RUN}.pace.json").read_text())
load_stage = job.load_stage


def note(event, stage, unit="-"):
    """Add a line; short appends do not mix."""
    line = f"{event} {stage} {unit} {os.environ.get('SLURM_JOB_ID', '-')} {os.getpid()}\n"
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
    def read(self, unit):
        note("compute", self.stage, unit.id)
        time.sleep(PACE.get(self.stage, 0))
        return self.original.read(unit)


class NotedStage(Noted):
    def repository(self, context):
        original = self.original.repository(context)
        leased = hasattr(original, "lease_path")
        return (LeasedNotedRepository if leased else NotedRepository)(original, self.stage)

    def open(self, context):
        note("load", self.stage)
        return NotedWorker(self.original.open(context), self.stage)


def load_noted_stage(name):
    """A stage's real code, noted; the sampler's steps take their time."""
    stage = NotedStage(load_stage(name), name)
    if name == "sample" and PACE.get("step"):
        slow_down_steps(PACE["step"])
    return stage


def slow_down_steps(seconds):
    from dispose_stages.sample import stage

    save_every = stage.save_every

    def slow_save_every(*arguments, **options):
        after_step = save_every(*arguments, **options)

        def after_slow_step(state):
            time.sleep(seconds)
            after_step(state)

        return after_slow_step

    stage.save_every = slow_save_every


if __name__ == "__main__":
    job.load_stage = load_noted_stage
    main(sys.argv[1:])
