"""Runs that are killed at any moment go on with the same command, as if nothing had happened."""

import os
import random
import signal
import subprocess
import time

import pytest

UNITS = 22
MANY = 30


def results(root):
    """Path to content of everything a run delivers and keeps, but for unfinished files."""
    folders = ("store", "results/test/videos", "results/test/ledger")
    paths = (path for name in folders for path in (root / name).rglob("[!.]*"))
    files = (path for path in paths if path.is_file())
    return {path.relative_to(root): path.read_bytes() for path in files}


def begun(root):
    """Results that jobs set out to compute since the last look."""
    path = root / "begun.log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def kill_while_computing(workspace, unit, delay, *, whole_group):
    """Start a run and kill -9 it in the middle of its n-th unit: with its jobs or alone."""
    process = subprocess.Popen(
        workspace.command(),
        cwd=workspace.root,
        env=os.environ | workspace.environment | {"FAKE_SECONDS": "0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = workspace.root / "begun.log"
    while process.poll() is None:
        if log.exists() and log.read_text().count("\n") >= unit:
            break
        time.sleep(0.01)
    time.sleep(delay)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def check_resume(workspace, undisturbed, seed):
    """Kill a run at a moment drawn from the seed, resume it, compare with an undisturbed one."""
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    whole_group = bool(seed % 2)
    unit, delay = draw.randint(1, UNITS), draw.uniform(0, 0.15)
    kill_while_computing(workspace, unit, delay, whole_group=whole_group)
    finished = {str(path) for path in results(workspace.root)}
    begun(workspace.root)
    output = workspace.snakemake()
    again = begun(workspace.root)
    assert "4 of 4 rows delivered" in output
    assert len(again) == len(set(again)), "computed twice at the same time"
    assert finished.isdisjoint(again), "a finished unit was computed again"
    assert results(workspace.root) == undisturbed


@pytest.fixture
def undisturbed(finished):
    """What a run without accidents leaves."""
    return results(finished.root)


@pytest.mark.parametrize("seed", range(2))
def test_killed_run_goes_on(undisturbed, workspace, seed):
    """Killed alone or with its jobs: no finished unit is computed again, results are the same."""
    check_resume(workspace, undisturbed, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, MANY))
def test_run_killed_at_many_moments_goes_on(undisturbed, workspace, seed):
    """The same at more moments."""
    check_resume(workspace, undisturbed, seed)
