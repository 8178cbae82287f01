"""`dispose run` that is told to stop: real processes, real signals, and the same command again."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow.conftest import REPOSITORY

PATIENCE = 120.0


def start(workspace, *arguments, **options):
    """`dispose run` with fake jobs, in a process group of its own like a service."""
    command = [
        *(str(workspace.python), "-m", "dispose_stages.cli", "run", *arguments),
        *("--profile", str(REPOSITORY / "profiles/local")),
        *("--config", str(REPOSITORY / "config/config.yaml")),
        *("--set", "run=test", "--set", "models=tiny", "--set", "parameters.resolution=128"),
        *("--manifest", workspace.config["manifest"], "--", "--cores", "2"),
    ]
    return subprocess.Popen(
        command,
        cwd=workspace.root,
        env=os.environ | workspace.environment,
        text=True,
        start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "preexec_fn": hear, **options},
    )


def hear():
    """Under `nohup` the tests themselves would hand a hang-up on as one to ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for(condition):
    """Until something is so, or the test fails."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def begun(workspace):
    """Units that were begun."""
    path = workspace.root / "begun.log"
    return len(path.read_text().splitlines()) if path.exists() else 0


def processes_of(workspace):
    """Command lines of everything that runs in the working directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == workspace.root:
                found.append(process.name)
    return found


def lock_is_free(workspace):
    """Nobody holds the run."""
    with (workspace.root / "results/test/plan/run.lock").open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize(
    ("signals", "status"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143),  # what `timeout` sends
        ([signal.SIGINT], 130),
        ([signal.SIGHUP], 129),
    ],
)
def test_a_signal_to_the_command_alone_stops_all_in_order(workspace, signals, status):
    """Jobs keep what they have, nothing runs on, no lock is held, and the same command goes on."""
    workspace.environment["FAKE_SECONDS"] = "0.5"
    process = start(workspace)
    wait_for(lambda: begun(workspace) >= 2)
    for number in signals:
        process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, said
    assert f"{signals[0].name}: stopping" in said
    assert "the same command continues" in said
    assert processes_of(workspace) == []
    assert lock_is_free(workspace)
    workspace.environment["FAKE_SECONDS"] = "0"
    again = start(workspace)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert "4 of 4 rows delivered" in said
    assert set(Counter(workspace.calls()).values()) == {1}, "a unit was computed twice"


def test_a_signal_before_anything_runs(workspace):
    """The command ends at once, nothing is left, and the same command does everything."""
    process = start(workspace)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in {143, -signal.SIGTERM}, said
    assert processes_of(workspace) == []
    assert workspace.calls() == []


def test_a_command_in_the_background_of_a_script_stops_too(workspace):
    """Scripts start such commands with Ctrl-C switched off, which children would inherit."""
    workspace.environment["FAKE_SECONDS"] = "0.5"
    process = start(workspace, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for(lambda: begun(workspace) >= 2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, said
    assert processes_of(workspace) == []


def test_a_busy_run_is_refused_whatever_was_delivered_before(finished):
    """The second command ends with 1 and says who works on the run."""
    with (finished.root / "results/test/plan/run.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        process = start(finished, "--set", "parameters.fps=12")
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert "works on this run" in said
