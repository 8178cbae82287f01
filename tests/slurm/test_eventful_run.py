"""Two dozen pairs through a real SLURM on which everything goes wrong that can go wrong.

The run's story is told once (`tests.slurm.story`); each test judges one of its events.
"""

import csv
from collections import Counter

import pytest

from dispose_stages.batch.unit import Status
from dispose_stages.config import STAGES
from tests.slurm.story import CALM, IMAGES, RUN, VIDEOS, Narrator, write_profile
from tests.slurm.workspace import Workspace

pytestmark = pytest.mark.slurm
GOOD = {f"i{i}_v{v}" for i in range(IMAGES) for v in range(VIDEOS)}
BAD = {f"i{i}_broken" for i in range(IMAGES)}


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory):
    """The finished runs, on the cluster and undisturbed on this machine."""
    root = tmp_path_factory.mktemp("work")
    workspace = Workspace.make(root, images=IMAGES, videos=VIDEOS)
    profile = write_profile(tmp_path_factory.mktemp("site") / "slurm")
    narrator = Narrator(cluster, workspace, profile)
    try:
        return narrator.tell()
    except Exception as error:
        error.add_note(workspace.logs(RUN) + cluster.logs())
        raise


def attempts(story, stage):
    """All recorded attempts at the shards of a stage."""
    shards = story.workspace.stats(RUN, stage).values()
    return [attempt for shard in shards for attempt in shard["attempts"]]


def job(story, number):
    """How a job stands at the end."""
    (found,) = [each for each in story.jobs if each.id == number]
    return found


def test_everything_that_can_be_delivered_is(story):
    """Both runs end well, with the same videos."""
    assert story.statuses == {RUN: 0, CALM: 0}
    delivered = {path.stem for path in story.workspace.layout(RUN).videos.glob("*.mp4")}
    assert delivered == GOOD
    assert len(GOOD) >= 24


def test_results_are_byte_identical_to_an_undisturbed_local_run(story):
    """Artifacts, ledgers and videos do not show what happened on the way."""
    eventful, calm = story.workspace.results(RUN), story.workspace.results(CALM)
    assert {name.partition("/")[0] for name in calm} == {"store", "ledger", "videos"}
    assert sorted(eventful) == sorted(calm)
    assert [name for name in calm if eventful[name] != calm[name]] == []


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "score"])  # which is off
def test_no_finished_unit_is_computed_again(story, stage):
    """Every unit is committed once, and nobody begins a unit that was committed before."""
    commits = story.workspace.count(RUN, "commit", stage)
    assert set(commits.values()) == {1}
    committed = set()
    for call in story.workspace.calls(RUN):
        if call.stage == stage and call.event == "commit":
            committed.add(call.unit)
        assert (call.stage, call.event) != (stage, "compute") or call.unit not in committed


def test_networks_are_loaded_once_per_job_that_computes(story):
    """Jobs that find everything done load nothing, and no job loads twice."""
    calls = story.workspace.calls(RUN)
    loads = Counter((call.stage, call.process) for call in calls if call.event == "load")
    computing = {(call.stage, call.process) for call in calls if call.event == "compute"}
    assert set(loads.values()) == {1}
    assert set(loads) == computing
    # Nothing happened to these but that one job of `mux` was late.
    for stage, again in (("correspondence", 0), ("mux", 1)):
        shards = len(story.workspace.stats(RUN, stage))
        assert sum(count for (name, _), count in loads.items() if name == stage) == shards + again


def test_jobs_of_a_killed_snakemake_are_found_and_cancelled(story):
    """They lived on after the kill -9; the same command ends them and goes on with their units."""
    assert [each.stage for each in story.orphans] == ["pose"]
    (orphan,) = story.orphans
    assert orphan.state == "RUNNING"
    assert job(story, orphan.id).state == "CANCELLED"
    said = story.workspace.output(RUN).read_text()
    assert f"cancelled 1 jobs of a killed run: {orphan.id}" in said
    first, last = attempts(story, "pose")
    assert (first["job"], first["outcome"]) == (orphan.id, "unfinished")
    assert first["computed"] >= 2
    assert (last["outcome"], last["found"]) == ("done", first["computed"])


def test_a_cancelled_job_is_submitted_again(story):
    """Its shard is finished by another job, which finds what was there."""
    assert job(story, story.cancelled.id).state == "CANCELLED"
    cancelled = story.cancelled.comment
    jobs = [each for each in story.jobs if each.comment == cancelled]
    assert jobs[-1].id != story.cancelled.id
    assert jobs[-1].state == "COMPLETED"


def test_a_job_on_a_lost_node_runs_elsewhere(story):
    """SLURM puts it back into the queue by itself; snakemake waits for it."""
    lost = story.on_lost_node
    now = job(story, lost.id)
    assert now.restarts == 1
    assert now.state == "COMPLETED"
    assert now.node != lost.node
    assert [each.id for each in story.jobs if each.comment == lost.comment] == [lost.id]


def test_a_preempted_clip_goes_on_at_its_step(story):
    """SIGTERM makes the sampler save its state; the next job does not start over."""
    assert story.preempted
    ids = {each.id for each in story.preempted}
    stopped = [attempt for attempt in attempts(story, "sample") if attempt["job"] in ids]
    assert {attempt["outcome"] for attempt in stopped} == {"unfinished"}
    logs = [
        story.workspace.log(RUN, "sample", shard)
        for shard, stats in story.workspace.stats(RUN, "sample").items()
        if {attempt["job"] for attempt in stats["attempts"]} & ids
    ]
    assert any("goes on at step" in log for log in logs)


def test_jobs_end_before_their_time_limit_and_are_continued(story):
    """A job that could not finish in its time ends of its own accord, and the next one goes on."""
    assert "TIMEOUT" not in {each.state for each in story.jobs}
    first, *_, last = story.workspace.stats(RUN, "mux")[story.late]["attempts"]
    assert (first["outcome"], last["outcome"]) == ("unfinished", "done")
    assert job(story, first["job"]).state == "FAILED"  # status 75
    partial = story.workspace.layout(RUN).root.glob("stats/*/*.partial.json")
    assert list(partial) == []


def test_a_unit_that_always_fails_fails_alone(story):
    """Its reason stands in the ledger and in failures.csv; only its pairs are blocked."""
    failed = [e for e in story.workspace.entries(RUN, "ingest").values() if e.reason]
    assert [(entry.status, str(entry.reason)) for entry in failed] == [
        (Status.FAILED, "media_unreadable")
    ]
    entries = story.workspace.entries(RUN, "mux")
    assert {unit for unit, entry in entries.items() if entry.status is Status.BLOCKED} == BAD
    assert {unit for unit, entry in entries.items() if entry.status is Status.DONE} == GOOD
    with story.workspace.layout(RUN).failures.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["pair_id"] for row in rows} == BAD
    assert {(row["stage"], row["reason"]) for row in rows} == {("ingest", "media_unreadable")}


def test_nothing_is_left_behind(story):
    """No lease, heartbeat, saved state or temporary file survives."""
    root = story.workspace.root
    folders = (root / f"store-{RUN}", story.workspace.layout(RUN).root)
    left = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    endings = (".tmp", ".running.json", ".partial.zarr.zip")
    assert [p for p in left if p.name.endswith(endings) or ".lease" in p.name] == []


def test_how_long_it_took(story, record_property, capsys):
    """For the log only."""
    with capsys.disabled():
        acts = ", ".join(f"{act} {seconds:.0f} s" for act, seconds in story.seconds.items())
        jobs = Counter(each.state for each in story.jobs)
        print(f"\n{len(GOOD | BAD)} pairs, {sum(jobs.values())} jobs {dict(jobs)}; {acts}")  # noqa: T201
    record_property("seconds", story.seconds)
