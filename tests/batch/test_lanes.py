"""Several GPUs in one job: a process on each."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dispose_stages.batch.budget import used_gpu_seconds
from dispose_stages.batch.job import EXIT_DONE, EXIT_FAILED, EXIT_UNFINISHED
from dispose_stages.batch.lanes import lane_gpus, perform_job, taken, unit_queue
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.manifest import read_manifest
from dispose_stages.batch.plan import build_plan
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.unit import Status
from dispose_stages.config import Compute, load_config
from dispose_stages.errors import Reason
from tests.toy_run import plan_run

SHARD = "0-of-1"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Twelve clips in one job that was given three GPUs; everything before them is done."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    monkeypatch.setenv("LANE_NOTES", str(tmp_path / "notes"))
    run = plan_run(tmp_path, 3, 4, compute={"device": "auto", "gpus_per_job": 3})
    run.perform_all("ingest", "pose", "motion", "correspondence")
    return run


def command(run):
    module = ["-m", "tests.batch.lane_process"]
    return [sys.executable, *module, "sample", str(run.layout.root), SHARD]


def perform(run, **options):
    return perform_job("sample", run.layout.root, SHARD, command=command(run), **options)


def notes(run):
    lines = (run.root / "notes").read_text().splitlines()
    return [line.split() for line in lines]


def left_over(run):
    return [path.name for path in run.layout.root.rglob("*lane*")]


def test_every_process_has_a_gpu_of_its_own(run):
    """All units once, by three processes on three GPUs; one ledger, one attempt."""
    seen = []
    assert perform(run, on_progress=lambda *told: seen.append(told)) == EXIT_DONE
    told = notes(run)
    assert Counter(unit for unit, _, _ in told) == dict.fromkeys(run.plan.units["sample"], 1)
    pairs = {(gpu, process) for _, gpu, process in told}
    assert sorted(gpu for gpu, _ in pairs) == ["GPU-a", "GPU-b", "GPU-c"]
    stats = JobStats.read(run.layout.stats("sample", SHARD))
    assert set(stats.seconds) == set(run.plan.units["sample"])
    (attempt,) = stats.attempts
    assert (attempt.gpus, attempt.computed, attempt.loads) == (3, 12, 3)
    assert left_over(run) == []


def test_the_ledger_is_that_of_a_job_with_one_gpu(run, monkeypatch):
    """Byte for byte; so is what hangs on it."""
    perform(run)
    path = run.layout.ledger("sample", SHARD)
    side_by_side = path.read_bytes()
    path.unlink()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    run.perform_all("sample")
    assert path.read_bytes() == side_by_side


def test_one_that_dies_takes_its_unit_alone(run, monkeypatch):
    """The others do all the rest; the next attempt does the one that is left."""
    victim = list(run.plan.units["sample"])[5]
    monkeypatch.setenv("LANE_FAULT", f"{victim} die")
    assert perform(run) == EXIT_UNFINISHED
    assert {unit for unit, _, _ in notes(run)} == set(run.plan.units["sample"])
    assert not run.layout.ledger("sample", SHARD).exists()
    assert len(list((run.root / "store/sample").rglob("*.zarr.zip"))) == 11
    partial = Ledger.read(run.layout.partial("sample", SHARD)).units
    assert partial[victim].status is Status.PENDING
    assert left_over(run) == []
    monkeypatch.delenv("LANE_FAULT")
    (run.root / "notes").unlink()
    assert perform(run, attempt=2) == EXIT_DONE
    assert [unit for unit, _, _ in notes(run)] == [victim]


def test_a_dead_gpu_stops_its_process_only(run, monkeypatch):
    """It leaves the queue to the others."""
    monkeypatch.setenv("LANE_FAULT", f"{next(iter(run.plan.units['sample']))} machine")
    assert perform(run) == EXIT_UNFINISHED
    assert len(list((run.root / "store/sample").rglob("*.zarr.zip"))) == 11


def test_a_unit_that_fails_is_tried_once(run, monkeypatch):
    """Its reason stands in the ledger of the shard."""
    victim = list(run.plan.units["sample"])[2]
    monkeypatch.setenv("LANE_FAULT", f"{victim} fail")
    assert perform(run) == EXIT_DONE
    assert Counter(unit for unit, _, _ in notes(run))[victim] == 1
    entries = run.entries("sample")
    assert entries[victim].reason is Reason.NUMERIC
    assert Counter(entry.status for entry in entries.values())[Status.DONE] == 11


def test_a_wrong_set_up_fails_the_job(run):
    """All processes refuse; nothing is waited for."""
    run.layout.weights.unlink()
    assert perform(run) == EXIT_FAILED
    assert JobStats.read(run.layout.stats("sample", SHARD)).attempts[-1].outcome == "error"


def job_process(run):
    code = (
        "import sys; from pathlib import Path; from dispose_stages.batch.lanes import perform_job\n"
        "root, shard, *command = sys.argv[1:]\n"
        "sys.exit(perform_job('sample', Path(root), shard, command=command))"
    )
    arguments = [str(run.layout.root), SHARD, *command(run)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_ends_takes_its_processes_along(run, monkeypatch, number):
    """Asked to stop they end their unit; after a kill nobody works on unheard."""
    monkeypatch.setenv("LANE_SECONDS", "1")
    job = job_process(run)
    end = time.monotonic() + 120
    while not (run.root / "notes").exists() and time.monotonic() < end:
        time.sleep(0.1)
    job.send_signal(number)
    status = job.wait(timeout=120)
    assert status == (EXIT_UNFINISHED if number == signal.SIGTERM else -number)
    while any(Path(f"/proc/{p}").exists() for *_, p in notes(run)) and time.monotonic() < end:
        time.sleep(0.1)
    done = len(list((run.root / "store/sample").rglob("*.zarr.zip")))
    time.sleep(1.5)
    assert len(list((run.root / "store/sample").rglob("*.zarr.zip"))) == done < 12
    monkeypatch.setenv("LANE_SECONDS", "0")
    assert perform(run, attempt=2) == EXIT_DONE
    assert left_over(run) == []


@pytest.mark.parametrize(
    ("environ", "count", "gpus"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, 8, ["2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"}, 8, ["0", "1", "2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, 8, []),
        ({}, 3, ["", "", ""]),
        ({}, 0, []),
        ({"SLURM_JOB_ID": "7"}, 8, []),
    ],
)
def test_gpus_are_those_that_were_given(environ, count, gpus):
    """By the scheduler; on a machine of one's own each process takes a free one."""
    compute = Compute(gpus_per_job=4)
    assert lane_gpus(compute, "sample", environ, count) == gpus
    assert lane_gpus(compute, "ingest", environ, count) == []
    assert lane_gpus(Compute(gpus_per_job=4, device="cpu"), "sample", environ, count) == []


def test_the_queue_is_shared_and_ends():
    """However long it is."""
    with unit_queue(40_000) as queue:
        assert list(taken(range(40_000), queue, lambda: False)) == list(range(40_000))
    with unit_queue(40_000) as queue:
        assert list(taken(range(40_000), queue, lambda: True)) == []


def test_gpu_hours_count_every_gpu(run):
    """Of attempts and of jobs that are alive."""
    path = run.layout.stats("sample", SHARD)
    perform(run)
    content = json.loads(path.read_text())
    content["attempts"][0] |= {"device": "cuda", "seconds": 100.0, "started": time.time()}
    path.write_text(json.dumps(content))
    assert used_gpu_seconds(run.layout, time.time() - 50, time.time()) == 300


def test_jobs_are_as_many_times_larger(tmp_path):
    """So that they take as long as others."""
    run = plan_run(tmp_path, 8, 8, shards={"minutes": 3})
    more = load_config(run.config.model_dump() | {"compute": {"gpus_per_job": 4}})
    rows = read_manifest(run.root / "manifest.csv", more.parameters)
    counts = build_plan(more, rows).shard_counts
    assert run.plan.shard_counts["sample"] == 32
    assert counts["sample"] == 8
    assert counts["ingest"] == run.plan.shard_counts["ingest"]
