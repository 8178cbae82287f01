"""`dispose run` on a part of its manifest or with a budget: real processes, fake networks."""

import os
import signal
import subprocess
from collections import Counter
from datetime import datetime, timedelta

import pytest

from tests.workflow.conftest import REPOSITORY

PATIENCE = 180.0


def command(workspace, *arguments):
    """What a user would type."""
    return [
        *(str(workspace.python), "-m", "dispose_stages.cli", "run", *arguments),
        *("--profile", str(REPOSITORY / "profiles/local")),
        *("--config", str(REPOSITORY / "config/config.yaml")),
        *("--set", "run=test", "--set", "models=tiny", "--set", "parameters.resolution=128"),
        *("--manifest", workspace.config["manifest"], "--", "--cores", "2"),
    ]


def run(workspace, *arguments):
    """`dispose run` to its end."""
    return workspace.call(command(workspace, *arguments), timeout=PATIENCE)


def soon(seconds):
    """A time as `--until-time` takes it."""
    return (datetime.now() + timedelta(seconds=seconds)).isoformat()


def test_a_pilot_then_the_rest(workspace):
    """Exit status 0 twice; every unit is computed once; the pilot's videos are not touched."""
    done = run(workspace, "--first", "1")
    assert done.returncode == 0, done.stdout
    assert "1 of 1 rows delivered, 3 held back" in done.stdout
    videos = workspace.root / "results/test/videos"
    before = {path.name: path.stat().st_mtime_ns for path in videos.glob("*.*")}
    assert len(before) == 2
    again = run(workspace, "--first", "1")
    assert again.returncode == 0, again.stdout
    rest = run(workspace)
    assert rest.returncode == 0, rest.stdout
    assert "4 of 4 rows delivered" in rest.stdout
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in videos.glob("*.*")}.items()
    assert set(Counter(workspace.calls()).values()) == {1}, "a unit was computed twice"


def test_a_dry_run_says_what_why_and_at_what_price(workspace):
    """A table before Snakemake's own; nothing is written."""
    before = workspace.files()
    done = run(workspace, "--sample", "2", "--dry-run")
    assert done.returncode == 0, done.stdout
    table = [line.split() for line in done.stdout.splitlines()]
    rows = {cells[0]: cells for cells in reversed(table) if cells}  # Snakemake has one as well
    assert rows["mux"][1:3] == ["2", "0"]
    assert rows["mux"][-2:] == ["2", "new"]
    assert "GPU hours" in done.stdout
    assert workspace.files() == before


def test_missing_weights_show_before_anything_runs(workspace):
    """By file, in the dry run."""
    next((workspace.root / "models/tiny").rglob("*.onnx")).unlink()
    done = run(workspace, "--dry-run")
    assert "the run would not begin: 1 checkpoint file is missing" in done.stdout


def test_an_expensive_run_is_asked_about(workspace):
    """Without a terminal there is nobody to ask: nothing begins before `--yes`."""
    limit = ("--set", "limits.confirm_gpu_hours=0.001")
    refused = run(workspace, *limit)
    assert refused.returncode == 1
    assert "more than 0.001 (limits.confirm_gpu_hours)" in refused.stdout
    assert workspace.calls() == []
    assert run(workspace, *limit, "--yes").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--only", "nobody"], "the manifest has no pair 'nobody'"),
        (["--only", " , "], "--only names no pair"),
        (["--first", "1", "--sample", "1"], "give one of only, first and sample"),
        (["--seed", "3"], "--seed belongs to --sample"),
        (["--until-time", "later"], "'later' is no time"),
        (["--until-time", "2001-01-01"], "is past"),
    ],
)
def test_wrong_bounds_begin_nothing(workspace, arguments, what):
    """One line and exit status 1."""
    done = run(workspace, *arguments)
    assert done.returncode == 1, done.stdout
    assert what in done.stdout
    assert workspace.calls() == []


@pytest.mark.parametrize("budget", ["time", "hours"])
def test_a_spent_budget_stops_in_order(workspace, budget):
    """Exit status 75 and the reason; nothing runs on; the same command ends it, nothing twice."""
    workspace.environment |= {"FAKE_SECONDS": "2", "FAKE_DEVICE": "cuda"}
    bounds = ("--until-time", soon(18)) if budget == "time" else ("--max-gpu-hours", "0.0006")
    stopped = run(workspace, *bounds)
    assert stopped.returncode == 75, stopped.stdout
    assert "the budget is spent: " in stopped.stdout
    assert "the same command continues" in stopped.stdout
    assert (workspace.root / "results/test/plan/halt").exists()
    workspace.environment["FAKE_SECONDS"] = "0"
    again = run(workspace, "--until-time", soon(600))
    assert again.returncode == 0, again.stdout
    counts = Counter(workspace.calls())
    assert len(counts) == 22
    assert set(counts.values()) == {1}, "a unit was computed twice"


def test_a_command_killed_while_it_stops_loses_nothing(workspace):
    """SIGKILL between the halt and the end: the next command takes the halt away and goes on."""
    workspace.environment["FAKE_SECONDS"] = "2"
    process = subprocess.Popen(
        command(workspace, "--until-time", soon(15)),
        cwd=workspace.root,
        env=os.environ | workspace.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "the budget is spent" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    process.stdout.close()
    workspace.environment["FAKE_SECONDS"] = "0"
    for _ in range(30):
        again = run(workspace)
        if again.returncode == 0:
            break
        assert "works on this run" in again.stdout, again.stdout  # Snakemake was not killed
    assert again.returncode == 0, again.stdout
    assert "4 of 4 rows delivered" in again.stdout
    assert set(Counter(workspace.calls()).values()) == {1}, "a unit was computed twice"
