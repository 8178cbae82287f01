"""Units that another job is computing: a run that shares the store, or an orphan."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.artifacts import Latents
from dispose_stages.batch import runner
from dispose_stages.batch.job import EXIT_DONE, EXIT_UNFINISHED, perform_shard
from dispose_stages.batch.lease import Lease, read_lease
from dispose_stages.batch.stage import ArtifactRepository
from dispose_stages.batch.unit import Status
from tests.toy_run import CountingStage, plan_run

THEIRS = "v1.mp4"
"""The unit that the other job computes."""


class Watched(ArtifactRepository):
    """Tells the test whenever the runner looks for a unit."""

    def __init__(self, context, on_find):
        super().__init__(context)
        self.on_find = on_find

    def find(self, unit):
        self.on_find(self, unit)
        return super().find(unit)


class WatchedStage(CountingStage):
    """A stage beside which another job works.

    Args:
        finds: What the other job does at which of the runner's looks at its unit.
    """

    def __init__(self, **finds):
        super().__init__("pose", lambda unit: self.order.append(unit.label))
        self.order = []
        self.looks = Counter()
        self.finds = finds
        self.lease = None

    def repository(self, context):
        return Watched(context, self.on_find)

    def on_find(self, repository, unit):
        if unit.label == THEIRS:
            self.looks[unit.label] += 1
            action = self.finds.get(f"at_{self.looks[unit.label]}")
            if action:
                action(self, repository, unit)


def take(stage, repository, unit):
    stage.leased = repository.lease_path(unit)
    stage.lease = Lease(stage.leased)
    assert stage.lease.acquire()


def finish(stage, repository, unit):
    values = np.zeros((1, 4, 1, 1), np.float32)
    repository.commit(unit, Latents(values))
    stage.lease.release()


def give_up(stage, repository, unit):
    stage.lease.release()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Media are probed; all poses are one shard."""
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    assert len(run.plan.shards("pose")) == 1
    return run


def perform(run, stage, **options):
    run.stages["pose"] = stage
    return run.perform("pose", **options)


def test_a_unit_of_another_job_is_left_to_it(run):
    """Everything else is computed first, then its result is awaited and taken."""
    stage = WatchedStage(at_1=take, at_4=finish)
    assert perform(run, stage) == [EXIT_DONE]
    assert THEIRS not in stage.order
    assert len(stage.order) == 3
    assert {entry.status for entry in run.entries("pose").values()} == {Status.DONE}


def test_a_unit_the_other_job_could_not_finish_is_computed(run):
    """Given back without a result, the unit is this job's, and comes last."""
    stage = WatchedStage(at_1=take, at_4=give_up)
    assert perform(run, stage) == [EXIT_DONE]
    assert stage.order[-1] == THEIRS
    assert len(stage.order) == 4


def test_a_result_that_came_between_look_and_lease_is_not_computed_again(run):
    """Who gets the lease looks once more."""

    def finish_at_once(stage, repository, unit):
        finish(stage, repository, unit)
        stage.looks["late"] += 1

    stage = WatchedStage(at_1=take, at_2=finish_at_once)
    perform(run, stage)
    assert stage.looks["late"] == 1
    assert THEIRS not in stage.order


def test_waiting_ends_when_the_job_is_asked_to_stop(run):
    """The unit stays pending, and its lease with the other job."""
    stage = WatchedStage(at_1=take)
    passed = []

    def now():
        passed.append(1)
        return 1000.0 + len(passed)

    name = next(iter(run.plan.shards("pose")))
    options = {"stage": stage, "deadline": 1200.0, "now": now}
    assert perform_shard("pose", run.layout.root, name, **options) == EXIT_UNFINISHED
    assert len(stage.order) == 3
    assert read_lease(stage.leased)
    stage.lease.release()


def test_no_lease_is_left_behind(run):
    """Whether a unit succeeds or fails."""
    stage = CountingStage("pose")

    def refuse(unit):
        if unit.label == THEIRS:
            raise RuntimeError("made to fail")

    stage.before = refuse
    perform(run, stage)
    assert list(run.root.rglob("*.lease*")) == []
    statuses = Counter(entry.status for entry in run.entries("pose").values())
    assert statuses == {Status.DONE: 3, Status.FAILED: 1}


JOB = """
import sys, time
from pathlib import Path
from dispose_stages.batch.job import perform_shard
from tests.toy_run import CountingStage

def slowly(unit):
    print(unit.key, flush=True)
    time.sleep(0.1)

root, shard, start = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
sys.exit(perform_shard("pose", root, shard, stage=CountingStage("pose", slowly)))
"""


def test_two_runs_over_one_store_share_the_work(tmp_path):
    """Started together, they compute every unit once between them and both finish."""
    media, runs = plan_run(tmp_path, 3, 3), []
    for name in ("one", "other"):
        run = plan_run(tmp_path, 3, 3, run=name)
        run.perform_all("ingest")
        runs.append(run)
    (shard,) = media.plan.shards("pose")
    paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    start = str(time.time() + 3.0)
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(run.layout.root), shard, start],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for run in runs
    ]
    computed = [job.communicate(timeout=100)[0].split() for job in jobs]
    assert [job.returncode for job in jobs] == [EXIT_DONE] * 2
    assert len(computed[0] + computed[1]) == len(set(computed[0] + computed[1])) == 6
    assert runs[0].entries("pose") == runs[1].entries("pose")
