import json
import os
import socket
import time
from dataclasses import replace

import pytest

from dispose_stages.batch.lease import Lease, boot_id
from dispose_stages.batch.outcomes import PairStatus, RowCounts, RunOutcomes
from dispose_stages.batch.status import JobNow, run_status
from dispose_stages.config import STAGES
from dispose_stages.errors import Reason, StoreError, UnitError
from tests.toy_run import CountingStage, plan_run


def status_of(run):
    return run_status(RunOutcomes.read(run.layout.root))


def bad_video(unit):
    if unit.label == "v1.mp4":
        raise UnitError(Reason.NO_SINGLE_PERSON_FRAME, "nobody there")


def test_a_planned_run_is_all_pending(tmp_path):
    """Before anything ran, every unit and pair waits."""
    status = status_of(plan_run(tmp_path))
    assert [stage.pending for stage in status.stages] == [4, 4, 4, 2, 4, 4]
    assert status.rows == RowCounts(pending=4)
    assert not status.finished
    assert status.seconds_left is None
    assert status.pairs_per_hour is None


def test_a_finished_run(tmp_path):
    """Everything is done and nothing is left."""
    run = plan_run(tmp_path)
    run.perform_all()
    status = status_of(run)
    assert [(s.done, s.pending, s.running) for s in status.stages] == [
        (s.total, 0, 0) for s in status.stages
    ]
    assert status.finished
    assert status.seconds_left == 0
    assert status.pairs_per_hour > 0
    assert all(stage.seconds_per_unit > 0 for stage in status.stages)
    assert status.gpu_hours == 0


def test_failures_name_the_stage_that_failed_not_the_last_one(tmp_path):
    """A pair blocked in mux shows the pose failure that blocks it, with its log."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    run.perform_all()
    outcomes = RunOutcomes.read(run.layout.root)
    by_pair = {o.pair.pair_id: o for o in outcomes.pair_outcomes()}
    assert by_pair["i0_v0"].status is PairStatus.DELIVERED
    failed = by_pair["i0_v1"]
    assert (failed.status, failed.stage) == (PairStatus.FAILED, "pose")
    assert (failed.reason, failed.message) == ("no_single_person_frame", "nobody there")
    assert outcomes.log("pose", failed.unit).parent.name == "pose"
    pose, *_, mux = run_status(outcomes).stages[1:]
    assert (pose.failed, pose.done) == (1, 3)
    assert (mux.blocked, mux.done) == (2, 2)


def test_failures_show_before_later_stages_have_run(tmp_path):
    """As soon as a ledger says so."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    run.perform_all("ingest", "pose")
    outcomes = [o.status for o in RunOutcomes.read(run.layout.root).pair_outcomes()]
    assert outcomes.count(PairStatus.FAILED) == 2
    assert outcomes.count(PairStatus.PENDING) == 2


def test_a_pair_without_correspondence_guidance_is_delivered_without_it(tmp_path):
    """Only what a pair needs is computed, and decides how it stands."""
    run = plan_run(tmp_path, parameters={"correspondence_guidance": False})
    run.perform_all("ingest", "pose", "motion")
    outcomes = [o.status for o in RunOutcomes.read(run.layout.root).pair_outcomes()]
    assert outcomes == [PairStatus.PENDING] * 4
    run.perform_all("sample", "mux")
    assert status_of(run).rows == RowCounts(delivered=4)


def beat(run, stage, shard, **content):
    path = run.layout.running(stage, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {"updated": time.time(), "done": 0}
    own |= {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid()}
    path.write_text(json.dumps({**own, **content}))


def test_running_jobs_are_counted_by_their_heartbeat(tmp_path):
    """Units of a live job that are not done yet are running."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    (shard,) = run.plan.shards("pose")
    beat(run, "pose", shard, done=1)
    pose = status_of(run).stages[1]
    assert (pose.done, pose.running, pose.pending, len(pose.jobs)) == (1, 3, 0, 1)


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ({"failed": 2}, (0, 2, 0, 2)),
        ({"blocked": 3, "done": 1}, (1, 0, 3, 0)),
        ({"done": 1, "failed": 1, "blocked": 1}, (1, 1, 1, 1)),
        ({"done": 9, "failed": 9}, (4, 0, 0, 0)),
    ],
)
def test_what_failed_in_a_running_job_is_not_done(tmp_path, told, counts):
    """Done, failed, blocked and running units add up to all, whatever a lease says."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    (shard,) = run.plan.shards("pose")
    beat(run, "pose", shard, **told)
    pose = status_of(run).stages[1]
    assert (pose.done, pose.failed, pose.blocked, pose.running) == counts


def test_a_job_says_what_came_of_its_units(tmp_path, monkeypatch):
    """Of four clips one fails; while the job is at its end its lease tells these apart."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    run.perform_all("ingest")
    said = []
    monkeypatch.setattr(Lease, "say", lambda lease, **facts: said.append(facts))
    run.perform_all("pose")
    assert (said[-1]["done"], said[-1]["failed"]) == (3, 1)


@pytest.mark.parametrize("content", [{"updated": 1.0}, {"pid": 2**22 + 1}, {"updated": "x"}])
def test_dead_jobs_run_nothing(tmp_path, content):
    """A stale file, or one of a process that is gone, is no running job."""
    run = plan_run(tmp_path)
    (shard,) = run.plan.shards("pose")
    beat(run, "pose", shard, **content)
    pose = status_of(run).stages[1]
    assert (pose.running, pose.jobs, pose.pending) == (0, (), 4)


def test_what_an_unfinished_job_did_is_counted(tmp_path):
    """Its partial ledger stands in until there is a whole one."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    assert run.perform("pose", deadline=1.0) == [75]
    pose = status_of(run).stages[1]
    assert (pose.done, pose.pending) == (0, 4)


def test_time_left_is_work_left_over_jobs(tmp_path):
    """Mean seconds of a unit times units, shared by the jobs that run."""
    run = plan_run(tmp_path)
    run.perform_all()
    outcomes = RunOutcomes.read(run.layout.root)
    stage = replace(run_status(outcomes).stages[4], seconds_per_unit=10.0, pending=5, running=1)
    beside = stage.seconds_per_job
    assert stage.seconds_left() == 60
    assert replace(stage, pending=0, running=0).seconds_left() == 0
    assert replace(stage, seconds_per_unit=None).seconds_left() is None
    assert replace(stage, jobs_left=2, seconds_per_job=5.0).seconds_left() == 70
    assert replace(stage, seconds_per_unit=None, jobs_left=1).seconds_left(3.0) == 18 + beside
    status = run_status(outcomes)
    job = JobNow("sample", "0-of-1", "here", 1, "")
    both = replace(status, stages=(replace(stage, jobs=(job, job)), replace(stage, jobs=(job,))))
    assert both.seconds_left == 40
    assert not both.guessed


def test_time_left_is_a_guess_until_every_stage_is_measured(tmp_path):
    """A stage of which nothing is left need not have been."""
    run = plan_run(tmp_path)
    run.perform_all("ingest")
    status = run_status(RunOutcomes.read(run.layout.root), dict.fromkeys(STAGES, 5.0))
    assert status.seconds_left
    assert status.guessed
    first, *others = status.stages
    others = [replace(stage, seconds_per_unit=1.0) for stage in others]
    first = replace(first, seconds_per_unit=None)
    assert not replace(status, stages=(first, *others)).guessed


def test_gpu_hours_count_every_attempt(tmp_path):
    """Also those that ended without a ledger."""
    run = plan_run(tmp_path)
    run.perform_all("ingest", "pose")
    (shard,) = run.plan.shards("pose")
    path = run.layout.stats("pose", shard)
    content = json.loads(path.read_text())
    attempt = content["attempts"][0] | {"device": "cuda", "seconds": 1800.0}
    path.write_text(json.dumps(content | {"attempts": [attempt, attempt]}))
    assert status_of(run).gpu_hours == 1.0


def test_a_folder_without_a_run_is_an_error(tmp_path):
    """It is named."""
    with pytest.raises(StoreError, match="holds no planned run"):
        RunOutcomes.read(tmp_path)
