"""What this repository adds to the start of a cluster's job; its time is `make bench-plan`'s."""

import json
import os
import subprocess
from dataclasses import replace

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.summary import PlanSummary, ShardSummary
from tests.workflow import job_start
from tests.workflow.job_start import (
    OURS,
    Watch,
    as_the_main_process_calls_it,
    bare_snakefile,
    remote_job,
)

MODULES = {
    *("dispose_stages", "dispose_stages.atomic", "dispose_stages.errors", "dispose_stages.records"),
    *("dispose_stages.batch", "dispose_stages.batch.layout", "dispose_stages.batch.rules"),
    "dispose_stages.batch.summary",
}
SNAKEMAKES = {"packaging", "snakemake.benchmark"}
"""What Snakemake imports for `min_version` and for rules that are measured."""
LINES = 1_500
"""Of ours; at some ten million a second they are a fraction of a hundredth of a second."""
LINES_PER_JOB = 12


@pytest.fixture
def run(finished):
    """Runs Snakemake as a cluster's job calls it; gives what was noted."""

    def start(*arguments):
        notes = finished.root / "notes.json"
        done = subprocess.run(
            [str(finished.python), job_start.__file__, str(notes), *arguments],
            cwd=finished.root,
            env=os.environ | finished.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(notes.read_text())

    start.layout = RunLayout(finished.root / "results/test")
    start.bare = bare_snakefile(finished)
    return start


def test_a_job_adds_little_to_what_snakemake_costs(run):
    """Eight small modules, no library, two files of the run, and few lines."""
    bare = run(*run.bare)
    job = run(
        *remote_job("sample:shard=0-of-1"),
        *as_the_main_process_calls_it(run.layout),
    )
    added = set(job["modules"]) - set(bare["modules"])
    assert {name for name in added if name.startswith("dispose_stages")} == MODULES
    assert {name for name in added - MODULES if not name.startswith(tuple(SNAKEMAKES))} == set()
    read = [path for path in job["opened"] if "results/test/" in path and "benchmarks" not in path]
    names = sorted(path.partition("results/test/")[2] for path in read)
    assert names == ["plan/config.json", "plan/summary.json"]
    assert bare["lines"] == 0
    assert 0 < job["lines"] < LINES
    # Each module once (source or what was compiled of it), each rule as Snakemake does.
    assert sum(path.startswith(OURS) for path in job["opened"]) <= 2 * (len(MODULES) + 11)


def test_what_a_job_reads_grows_with_the_jobs_of_the_run_only(run, tmp_path, monkeypatch):
    """A few lines for each, however many pairs they hold."""
    summary = PlanSummary.read(run.layout.summary)
    jobs = {f"{n}-of-512": ShardSummary(20, "digest", {"motion": ("0-of-1",)}) for n in range(512)}
    path = tmp_path / "summary.json"
    write_text(path, replace(summary, shards={**summary.shards, "sample": jobs}).to_json())
    watch = Watch()
    PlanSummary.read(path)
    watch.end()
    assert 512 < watch.lines < LINES + 512 * LINES_PER_JOB
