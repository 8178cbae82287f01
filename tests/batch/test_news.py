import json
import os
import socket
import time

from dispose_stages.batch.lease import boot_id
from dispose_stages.batch.news import Event, EventKind, News
from dispose_stages.batch.outcomes import Files, RunOutcomes
from dispose_stages.batch.stats import Attempt, Ending, JobStats
from dispose_stages.errors import Reason, UnitError
from tests.toy_run import CountingStage, plan_run


def bad_video(unit):
    if unit.label == "v1.mp4":
        raise UnitError(Reason.NO_FRAMES, "it is empty")


def test_a_failure_is_told_once_with_all_its_pairs(tmp_path):
    """In order of the manifest; pairs that it blocks are not failures of their own."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    news = News(since=0.0)
    run.perform_all("ingest")
    assert news.of(RunOutcomes.read(run.layout.root)) == []
    run.perform_all()
    outcomes = RunOutcomes.read(run.layout.root)
    expected = Event(EventKind.FAILED, "pose", ("i0_v1", "i1_v1"), "no_frames", "it is empty")
    assert news.of(outcomes) == [expected]
    assert news.of(outcomes) == []


def test_what_earlier_commands_left_is_no_news(tmp_path):
    """It shows in the numbers."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    run.perform_all()
    assert News(since=time.time() + 60).of(RunOutcomes.read(run.layout.root)) == []


def beat(run, stage, **content):
    path = run.layout.running(stage, "0-of-1")
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {"updated": time.time(), "pid": os.getpid(), "boot": boot_id()}
    path.write_text(json.dumps(own | {"host": socket.gethostname()} | content))


def test_a_running_job_tells_of_failures_before_its_ledger_does(tmp_path):
    """Its ledger does not tell them again; what is no failure in its lease is left out."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", bad_video)
    run.perform_all("ingest")
    unit = next(row.units["pose_video"] for row in run.plan.rows if row.pair_id == "i0_v1")
    beat(run, "pose", told=[[unit, "no_frames", "it is empty"], ["x"], 3])
    news = News(since=0.0)
    (event,) = news.of(RunOutcomes.read(run.layout.root))
    assert (event.subject, event.code) == (("i0_v1", "i1_v1"), "no_frames")
    run.layout.running("pose", "0-of-1").unlink()
    run.perform_all("pose")
    assert news.of(RunOutcomes.read(run.layout.root)) == []


def test_a_job_that_ends_without_a_ledger_is_told(tmp_path):
    """With its machine and its number; each attempt once."""
    run = plan_run(tmp_path)
    attempt = Attempt(1, host="node7", job="31", outcome=Ending.BAD_NODE)
    JobStats({}, [attempt]).write(run.layout.stats("pose", "0-of-1"))
    news = News(since=0.0)
    outcomes = RunOutcomes.read(run.layout.root)
    (event,) = news.of(outcomes)
    assert (event.kind, event.subject) == (EventKind.JOB, ("0-of-1",))
    assert (event.code, event.message) == ("bad_node", "on node7, job 31")
    assert news.of(outcomes) == []


def test_files_are_read_again_only_when_they_changed(tmp_path):
    """What is looked at every second must not be parsed every second."""
    path, reads = tmp_path / "x", []
    files = Files()

    def read(path):
        reads.append(path.read_text())
        return reads[-1]

    assert files.read(path, read) is None
    path.write_text("one")
    assert files.read(path, read) == files.read(path, read) == "one"
    path.with_suffix(".new").write_text("two")
    path.with_suffix(".new").replace(path)
    assert files.read(path, read) == "two"
    assert reads == ["one", "two"]


def test_a_ledger_of_another_plan_counts_for_nothing(tmp_path):
    """Its units are not this plan's, whatever became of them."""
    plan_run(tmp_path).perform_all()
    changed = plan_run(tmp_path, parameters={"seed": 3})
    by_stage = {s.stage: s for s in RunOutcomes.read(changed.layout.root).shards}
    assert by_stage["pose"].finished
    assert not by_stage["sample"].finished
    assert by_stage["sample"].results == {}
