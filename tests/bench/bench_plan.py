"""Planning at 1,000 and 10,000 pairs: `snakemake -n`, a re-run with nothing to do, a job's start.

``make bench-plan``. Media are sparse files, jobs are not run: their ledgers, artifacts and videos
are laid out as they would leave them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.batch.folders import cross_product
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.run_files import write_stage_weights
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import STAGES
from dispose_stages.store.artifacts import ArtifactStore
from tests.bench.size import size
from tests.workflow.conftest import REPOSITORY, Workspace, fake_bundle, make_workspace
from tests.workflow.fake_dispose import write_sidecar
from tests.workflow.job_start import as_the_main_process_calls_it, bare_snakefile, remote_job

pytestmark = pytest.mark.bench

SIZES = size({1_000: (25, 40), 10_000: (100, 100)}, {6: (2, 3)})
LARGE = size((250, 400), (2, 3))
"""Images and videos of the run that is only planned."""
STARTS = size(9, 1)
"""Of a job; the fastest counts."""


@dataclass(frozen=True)
class Measured:
    """Wall time, CPU time and largest memory of one process."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s {self.peak_bytes / 2**20:7.0f} MiB"


def measure(workspace: Workspace, *arguments: str) -> Measured:
    """Run Snakemake on the repository's Snakefile and measure it."""
    command = [str(workspace.python), "-m", "snakemake", *arguments]
    log = workspace.root / "out.log"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            cwd=workspace.root,
            env=os.environ | workspace.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    assert process.returncode == 0, log.read_text()[-4000:]
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Measured(seconds, cpu_seconds, usage.ru_maxrss * 1024, log.read_text())


def common(workspace: Workspace) -> list[str]:
    """Arguments every call shares."""
    return [
        *("--snakefile", str(REPOSITORY / "Snakefile")),
        *("--configfile", str(REPOSITORY / "config/config.yaml")),
        *("--config", "run=bench", "models=tiny"),
        f"manifest={workspace.root / 'media/pairs.csv'}",
    ]


def profile() -> list[str]:
    """What a user types."""
    return ["--profile", str(REPOSITORY / "profiles/local"), "--quiet", "rules"]


def sparse_media(root: Path, images: int, videos: int) -> None:
    """Files with a size and no content, and the manifest of all their pairs."""
    for folder, name, count, length in (
        ("images", "reference_{:04d}.png", images, 2 << 20),
        ("videos", "driver_{:04d}.mp4", videos, 50 << 20),
    ):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            path = root / folder / name.format(index)
            path.touch()
            os.truncate(path, length)
    (root / "pairs.csv").write_text(cross_product(root / "images", root / "videos", root))


def touched(path: Path) -> str:
    """Make an empty file; returns a digest that is none of its content."""
    path.touch()
    return "d" * 64


def lay_out_results(
    layout: RunLayout, store: ArtifactStore, fill: Callable[[Path], str] = touched
) -> None:
    """Everything that the jobs of a planned run would have left.

    Args:
        layout: Of the run.
        store: Of its artifacts.
        fill: Makes an artifact or a video at a path; returns its digest.
    """
    write_stage_weights(layout, "tiny", dict.fromkeys(STAGES, ""))
    summary = PlanSummary.read(layout.summary)
    for stage, names in summary.shards.items():
        for name in names:
            units = {}
            for unit in Shard.read(layout.shard(stage, name)).units:
                # As large as real ones: a ledger's size decides what reading it costs.
                key = "a" * 40 if stage == "mux" else (unit.id * 2)[:40]
                video = layout.videos / f"{unit.id}.mp4"
                path = video if stage == "mux" else store.path(stage, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                units[unit.id] = Result(Status.DONE, key, digest := fill(path))
                if stage == "mux":
                    write_sidecar(layout.videos, unit.id, key, digest)
            write_text(layout.ledger(stage, name), Ledger(stage, name, units).to_json())
    tables = (layout.report, layout.failures, layout.index, layout.rejects, layout.scores)
    for path in tables:
        write_text(path, "\n")


def unplanned(root: Path, images: int, videos: int) -> Workspace:
    """A working directory with a manifest of all pairs of so many files."""
    workspace = make_workspace(root, f'"{Path(__file__).with_name("finished_job.py")}"', {})
    sparse_media(workspace.root / "media", images, videos)
    fake_bundle(workspace.root / "models/tiny")
    return workspace


@pytest.fixture(scope="module", params=SIZES, ids=lambda pairs: f"{pairs} pairs")
def planned(request, tmp_path_factory):
    """A working directory with a manifest of that many pairs."""
    workspace = unplanned(tmp_path_factory.mktemp("bench"), *SIZES[request.param])
    yield request.param, workspace
    shutil.rmtree(workspace.root)


def test_planning(planned, capsys):
    """Figures of a dry run, a no-op re-run, and a job's start."""
    pairs, workspace = planned
    layout = RunLayout(workspace.root / "results/bench")
    arguments = [*profile(), *common(workspace)]
    dry = measure(workspace, *arguments, "-n")
    started = measure(workspace, *arguments, "--until", "weights")
    lay_out_results(layout, ArtifactStore(workspace.root / "store"))
    measure(workspace, *arguments, "--touch")
    nothing = measure(workspace, *arguments)
    assert "Nothing to be done" in nothing.output
    shard = min(PlanSummary.read(layout.summary).shards["sample"])
    start = [*remote_job(f"sample:shard={shard}"), *as_the_main_process_calls_it(layout)]
    bare_job = f"{workspace.python.with_name('dispose')} sample --run-dir bare --shard 0"
    # Alternately, so that both meet the same machine.
    pairs_of_starts = [
        (measure(workspace, *start), measure(workspace, *bare_snakefile(workspace, bare_job)))
        for _ in range(STARTS)
    ]
    job = min((with_plan for with_plan, _ in pairs_of_starts), key=lambda run: run.cpu_seconds)
    bare = min((without for _, without in pairs_of_starts), key=lambda run: run.cpu_seconds)
    overhead = job.cpu_seconds - bare.cpu_seconds
    ratio = median(job.cpu_seconds / bare.cpu_seconds for job, bare in pairs_of_starts)
    jobs = sum(map(len, PlanSummary.read(layout.summary).shards.values()))
    plan_bytes = sum(p.stat().st_size for p in (layout.root / "plan").rglob("*.json"))
    artifacts = sum(1 for path in (workspace.root / "store").rglob("*") if path.is_file())
    others = sum(1 for path in layout.root.rglob("*") if path.is_file())
    lines = [
        f"{pairs:,} pairs, {jobs} jobs",
        f"  dry run (snakemake -n)             {dry}  (at most 60 s, 2048 MiB)",
        f"  plan, write it, run a first job    {started}",
        f"  re-run with nothing to do          {nothing}  (at most 60 s, 2048 MiB)",
        f"  a cluster job up to its command    {job}",
        f"  ... the same without a plan        {bare}",
        f"  overhead per job                   {overhead:6.2f} s of CPU  (at most 0.05 s),",
        f"  ... in pairs                       {ratio:6.2f} of the bare Snakefile, median",
        f"  plan files {plan_bytes / 2**20:.1f} MiB, artifacts {artifacts:,}, others {others:,}",
    ]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))


def test_planning_of_a_large_run(tmp_path, capsys):
    """CPU time and memory of a dry run."""
    workspace = unplanned(tmp_path, *LARGE)
    dry = measure(workspace, *profile(), *common(workspace), "-n")
    pairs = LARGE[0] * LARGE[1]
    with capsys.disabled():
        sys.stdout.write(f"\n{pairs:,} pairs, dry run: {dry}, {dry.cpu_seconds:.1f} s of CPU\n")
