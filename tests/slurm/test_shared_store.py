"""Three runs at once on one store: two under SLURM, one of them with two GPUs a job, one local.

``SHARED_STORE_SIZE=10,20`` makes it 200 pairs in each run.
"""

import os
import time
from collections import Counter

import pytest

from tests.slurm.cluster import wait_until
from tests.slurm.story import write_profile
from tests.slurm.workspace import REPOSITORY, SMALL, Workspace, kill_hard

pytestmark = pytest.mark.slurm
IMAGES, VIDEOS = map(int, os.environ.get("SHARED_STORE_SIZE", "2,4").split(","))
EAST, WEST, LOCAL = "east", "west", "local"
RUNS = (EAST, WEST, LOCAL)
SHARED = ("pose", "motion", "correspondence", "sample")
PATIENCE = 900.0 + 20.0 * IMAGES * VIDEOS
# Clips of two frames and steps; most of what a job takes is then its start, so that there are not
# more jobs with more pairs.
SHORT = {"max_frames": 2, "num_inference_steps": 2, "tile_size": 2, "decode_chunk_size": 2}
COMMON = {
    "parameters": SMALL["parameters"] | SHORT,
    "shards": SMALL["shards"] | {"minutes": max(1, IMAGES * VIDEOS // 60)},
    "store": "store-shared",
}
MORE = {
    EAST: {"compute": {"threads": 1, "gpus_per_job": 2}},
    # Another frame rate: a video of its own, of the same latents.
    WEST: {"parameters": COMMON["parameters"] | {"fps": 10.0}},
    LOCAL: {},
}


@pytest.fixture(scope="module")
def workspace(cluster, tmp_path_factory):
    """After all three have come to their end, two of them killed and started again on the way."""
    workspace = Workspace.make(tmp_path_factory.mktemp("shared"), images=IMAGES, videos=VIDEOS)
    profile = write_profile(tmp_path_factory.mktemp("site") / "slurm")
    models = {"bundle": "tiny", "root": "tiny", "cache": str(workspace.root / "disk")}
    profiles = {EAST: profile, WEST: profile, LOCAL: REPOSITORY / "profiles/local"}
    running = {}

    def start(run):
        # Few enough jobs that those at their gates leave room for the other run's.
        more = ("--cores", "1", "--scheduler", "greedy") if run == LOCAL else ("--jobs", "2")
        settings = COMMON | MORE[run] | {"models": models}
        running[run] = workspace.start(run, profiles[run], *more, **settings)

    begun = time.monotonic()
    try:
        for run in RUNS:
            workspace.gates(run, sample=1)
            start(run)
        for run in (EAST, LOCAL):
            wait_until(lambda run=run: samples(workspace, run), PATIENCE, f"clips of {run}")
            kill_hard(running[run])
            start(run)
        for run in RUNS:
            workspace.gates(run)
        workspace.statuses = {run: running[run].wait(timeout=PATIENCE) for run in RUNS}
        workspace.minutes = (time.monotonic() - begun) / 60
    except Exception as error:
        error.add_note("".join(workspace.logs(run) for run in RUNS) + cluster.logs())
        raise
    finally:
        for process in running.values():
            if process.poll() is None:
                kill_hard(process)
        workspace.kill_leftovers()
    return workspace


def samples(workspace, run):
    """Whether a job of the run is at its clips; behind its gate, or waiting for other runs'."""
    return bool(workspace.count(run, "compute", "sample"))


def good(workspace, run):
    return {path.stem for path in workspace.layout(run).videos.glob("*.mp4")}


def test_all_come_to_their_end(workspace):
    """Whoever was killed, too; nobody is told that somebody else is busy."""
    assert workspace.statuses == dict.fromkeys(RUNS, 0)
    wanted = {f"i{i}_v{v}" for i in range(IMAGES) for v in range(VIDEOS)}
    assert {run: good(workspace, run) for run in RUNS} == dict.fromkeys(RUNS, wanted)
    for run in RUNS:
        assert "busy" not in workspace.output(run).read_text().lower()


@pytest.mark.parametrize("stage", SHARED)
def test_a_shared_unit_is_computed_once(workspace, stage):
    """By one of the three; the others find it."""
    commits = Counter()
    for run in RUNS:
        commits += workspace.count(run, "commit", stage)
    # Keys are the same for all: there are as many artifacts as units.
    units = {unit for run in RUNS for unit in workspace.entries(run, stage)}
    done = {
        unit for unit in units if any(unit in workspace.count(r, "commit", stage) for r in RUNS)
    }
    artifacts = list((workspace.root / "store-shared" / stage).rglob("*.zarr.zip"))
    assert set(commits.values()) == {1}
    assert len(artifacts) == len(done) == commits.total()


def test_the_work_was_shared(workspace):
    """More than one of them sampled."""
    by_run = {run: workspace.count(run, "commit", "sample").total() for run in RUNS}
    assert sum(by_run.values()) == IMAGES * VIDEOS
    assert sum(count > 0 for count in by_run.values()) > 1, by_run


def test_equal_videos_are_equal(workspace):
    """Wherever they were made; another rate makes other files."""
    for name in sorted(good(workspace, EAST)):
        east, west, local = (
            (workspace.layout(run).videos / f"{name}.mp4").read_bytes() for run in RUNS
        )
        assert east == local != west


def test_processes_of_a_job_have_a_gpu_each(workspace):
    """Two of the cluster's pretended GPUs, one for each process."""
    by_job = {}
    for call in workspace.calls(EAST):
        if call.event == "compute" and call.stage != "ingest":
            by_job.setdefault((call.job, call.stage), set()).add((call.process, call.gpus))
    assert by_job
    for pairs in by_job.values():
        assert {gpu for _, gpu in pairs} <= {"0", "1"}
        assert len({process for process, _ in pairs}) == len(pairs) <= 2
    assert any(len(pairs) == 2 for pairs in by_job.values())
    for call in workspace.calls(WEST):
        assert "," not in call.gpus
    assert not list(workspace.layout(EAST).root.rglob("*.lane*"))


def test_weights_were_copied_once(workspace):
    """All jobs of this machine read one copy."""
    said = "".join(
        path.read_text() for run in RUNS for path in workspace.layout(run).root.glob("logs/*/*.log")
    )
    copies = Counter(
        line.split("copying ")[1].split(" (")[0] for line in said.splitlines() if "copying " in line
    )
    assert copies
    assert set(copies.values()) == {1}


def test_nothing_is_left_behind(workspace):
    """No lease, saved state or temporary file survives."""
    left = [p for p in (workspace.root / "store-shared").rglob("*") if p.is_file()]
    endings = (".tmp", ".partial.zarr.zip")
    assert [p for p in left if p.name.endswith(endings) or ".lease" in p.name] == []


def test_figures(workspace, capsys):
    """For the log only."""
    told = {
        stage: {run: workspace.count(run, "commit", stage).total() for run in RUNS}
        for stage in (*SHARED, "mux")
    }
    jobs = {run: len({call.job for call in workspace.calls(run)} - {"-"}) for run in RUNS}
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{IMAGES * VIDEOS} pairs in each of {len(RUNS)} runs, {workspace.minutes:.0f} min; "
            f"jobs of SLURM that computed: {jobs}; computed by run: {told}"
        )
