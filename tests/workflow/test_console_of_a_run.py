"""`dispose run` as a person meets it: real processes, in a pipe and in a terminal."""

import os
import pty
import re

import pytest

from tests.workflow.test_stopped_runs import PATIENCE, start

SNAKEMAKE = re.compile(r"rule |Select jobs|Reason:|Building DAG|Params have changed|localrule")


def run_in_terminal(workspace, *arguments):
    """What a terminal receives, and the status."""
    primary, secondary = pty.openpty()
    process = start(workspace, *arguments, stdout=secondary, stderr=secondary)
    os.close(secondary)
    received = b""
    while True:
        try:
            data = os.read(primary, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        received += data
    os.close(primary)
    return received.decode(), process.wait(timeout=PATIENCE)


def test_in_a_pipe_the_run_tells_of_itself_in_its_own_words(workspace):
    """Rejected rows, failures with their pairs, what came out, and no word of Snakemake's."""
    workspace.environment["FAKE_FAIL"] = "pose:y.mp4"
    manifest = workspace.root / "media/pairs.csv"
    manifest.write_text(manifest.read_text() + "gone.png,x.mp4\n")
    process = start(workspace)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, said
    assert "1 row of" in said
    assert "no such file: media/gone.png" in said or "gone.png" in said
    assert re.search(r"failed   a_y_\w+, b_y_\w+: pose: not_finite: as the test wants it", said)
    assert "2 of 5 rows delivered, 2 failed, 1 rejected" in said
    assert "dispose retry results/test --reason not_finite" in said
    assert "report: results/test/report.html" in said
    assert not SNAKEMAKE.search(said)
    assert SNAKEMAKE.search((workspace.root / "results/test/logs/snakemake.log").read_text())


def test_in_a_terminal_one_block_follows_the_run(workspace):
    """Every stage has its line; Snakemake's own output is there on request."""
    said, status = run_in_terminal(workspace)
    assert status == 0, said
    assert re.search(r"sample +.*4/4", said)
    assert "4 of 4 rows delivered" in said
    assert not SNAKEMAKE.search(said)
    said, status = run_in_terminal(workspace, "--verbose")
    assert status == 0, said
    assert "Nothing to be done" in said


def test_a_job_that_crashes_is_seen(workspace):
    """With the end of Snakemake's output, which holds the job's own log."""
    workspace.environment["FAKE_BREAK"] = "motion"
    process = start(workspace)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, said
    assert "Snakemake ended with an error; the end of results/test/logs/snakemake.log:" in said
    assert "0 of 4 rows delivered, 4 pending" in said


@pytest.mark.parametrize("missing", ["weights", "manifest"])
def test_what_keeps_a_run_from_starting_is_one_error(workspace, missing):
    """In our words; nothing of what Snakemake makes of it."""
    if missing == "weights":
        for path in workspace.root.glob("models/tiny/**/*.onnx"):
            path.unlink()
    else:
        (workspace.root / "media/pairs.csv").write_text("reference_image\n")
    process = start(workspace)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert len(re.findall("error: ", said)) == 1
    assert "WorkflowError" not in said
    assert "Traceback" not in said


def test_a_command_of_the_users_hears_of_the_end(workspace):
    """Also when rows failed."""
    workspace.environment["FAKE_FAIL"] = "pose:y.mp4"
    process = start(workspace, "--on-end", "sh -c 'echo $DISPOSE_STATUS $DISPOSE_FAILED > heard'")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, said
    assert (workspace.root / "heard").read_text() == "3 2\n"
