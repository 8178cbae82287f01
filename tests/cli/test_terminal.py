import logging
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dispose_stages.batch.unit import Status
from dispose_stages.cli import cli
from dispose_stages.cli.terminal import PrintableFormatter, say
from dispose_stages.errors import Reason, UnitError
from tests.toy_run import CountingStage, plan_run

STEERING = ["\x1b[2J", "\a", "\x9b31m", "\u202e", "\r"]


def safe(text):
    """Nothing in it but text and line ends."""
    return not any(sign in text for sign in STEERING)


@pytest.mark.parametrize("sign", STEERING)
def test_what_is_said_is_text(capsys, sign):
    """On both streams."""
    say(f"a{sign}b")
    say(f"a{sign}b", err=True)
    out, err = capsys.readouterr()
    assert safe(out)
    assert safe(err)
    assert out.startswith("a\\")


@pytest.mark.parametrize("sign", STEERING)
def test_a_log_line_is_text(sign):
    """Messages and what stands in tracebacks."""
    error = ValueError(sign)
    found = (ValueError, error, None)
    record = logging.LogRecord("n", 20, "p", 1, "%s", (sign,), found)
    assert safe(PrintableFormatter().format(record))


@pytest.mark.parametrize("sign", STEERING)
def test_a_manifests_controls_do_not_reach_the_terminal(tmp_path, sign):
    """Names of files, columns and ids are shown as escapes."""
    manifest = tmp_path / "m.csv"
    manifest.write_text(f'reference_image,driving_video\n"{sign}.png",x{sign}.mp4\n')
    result = CliRunner().invoke(cli, ["manifest", "check", str(manifest)])
    assert result.exit_code == 1
    assert "no such file" in result.output
    assert safe(result.output)


@pytest.mark.parametrize("sign", STEERING)
def test_a_failures_controls_reach_neither_terminal_nor_table(tmp_path, sign):
    """Messages quote other people's text."""

    def before(unit):
        raise UnitError(Reason.NO_FRAMES, f"{sign}: nothing")

    run = plan_run(tmp_path)
    run.stages["ingest"] = CountingStage("ingest", before)
    run.perform_all()
    assert {entry.status for entry in run.entries("ingest").values()} == {Status.FAILED}
    result = CliRunner().invoke(cli, ["status", str(run.layout.root), "--pairs"])
    assert "nothing" in result.output
    assert safe(result.output)


def test_a_defects_traceback_is_text():
    """What is no error of ours is printed by Python, through the same gate."""
    code = (
        "import sys; from dispose_stages.cli import main, terminal\n"
        "sys.excepthook = terminal.show_traceback\n"
        "raise RuntimeError('\\x1b[2J')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert safe(done.stderr)
