import io
from dataclasses import replace

import pytest
from rich.console import Console

from dispose_stages.batch.news import Event, EventKind
from dispose_stages.batch.outcomes import RowCounts
from dispose_stages.batch.status import JobNow, RunStatus, StageStatus
from dispose_stages.cli.conduct import Watched
from dispose_stages.cli.console import (
    SHOWN_OF_A_KIND,
    EventLines,
    LineScreen,
    LiveScreen,
    View,
    bar,
    block,
    event_line,
    in_hand,
    open_screen,
)
from dispose_stages.config import load_config
from tests.cli.console_scenes import DOCUMENT, document

STAGE = StageStatus("sample", 1000, 300, 4, 1, 20, 675, 100, (), 3, 20.0, 5.0, 0.0)
VIEW = View("running", 4000.0, RunStatus((STAGE,), RowCounts(300, 1, 2, 697), {}))


def test_the_document_shows_what_the_command_shows():
    """`python -m tests.cli.console_scenes` writes it anew."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_the_block_is_wider_than_the_terminal(width):
    """Whatever a pair is called; wide characters count as two."""
    view = replace(VIEW, in_hand={"sample": "舞" * 100})
    console = Console(file=io.StringIO(), width=width)
    for line in block(view, width).split("\n"):
        assert line.cell_len < width
        assert len(console.render_lines(line)) == 1


def test_what_is_there_shows_however_little_it_is():
    """One failure of a thousand units has its cell, and the bar its width."""
    signs = dict(zip(("done", "cached", "failed", "running", "pending"), "#=x>.", strict=True))
    text = bar(STAGE, 20, signs).plain
    assert len(text) == 20
    assert [text.count(sign) > 0 for sign in "=#x>."] == [True] * 5
    assert bar(replace(STAGE, total=0, done=0, pending=0), 20, signs).cell_len >= 20


def test_a_terminal_without_these_characters_gets_others():
    """ASCII, where the encoding has no more."""
    assert block(VIEW, 80, "ascii").plain.splitlines()[0].isascii()


def test_what_is_in_hand_is_one_name_and_a_number():
    """The first job's, with its step; the others are counted."""
    job = JobNow("sample", "0-of-2", "here", 1, "", "u", "label", 4, 25)
    assert in_hand((job, replace(job, unit="v")), lambda job: "anna") == "anna 4/25 +1"
    assert in_hand((replace(job, unit=""),), lambda job: "anna") == "starting"
    assert in_hand((), lambda job: "anna") == ""


def test_names_of_files_do_not_steer_the_terminal():
    """Escapes in names and messages are shown as such."""
    event = Event(EventKind.FAILED, "pose", ("a\x1b[2J",), "internal", "two\nlines\x07")
    stream = io.StringIO()
    LineScreen(Console(file=stream, width=200), lambda: 0.0).line(event_line(event))
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
    job = JobNow("sample", "0-of-2", "here", 1, "", "u")
    assert "\x1b" not in in_hand((job,), lambda _: "a\x1b[2J")


def test_of_many_failures_of_one_kind_the_first_are_shown():
    """Others still show; the rest is counted."""
    lines = EventLines()
    many = [Event(EventKind.FAILED, "pose", (f"p{i}",), "internal", "no") for i in range(500)]
    shown = [text for text, _ in lines.of(many)]
    assert len(shown) == SHOWN_OF_A_KIND + 1
    other = [Event(EventKind.FAILED, "mux", ("p",), "encode_failed", "no")]
    assert len(list(lines.of(other))) == 1


def test_a_pipe_gets_a_line_a_minute_and_per_event():
    """With the time of day; nothing is drawn over."""
    moment = [0.0]
    stream = io.StringIO()
    screen = LineScreen(Console(file=stream, width=40), lambda: moment[0])
    for second in range(150):
        moment[0] = float(second)
        screen.show(VIEW)
    screen.line("failed   anna")
    screen.show(replace(VIEW, doing="stopping"))
    said = stream.getvalue().splitlines()
    assert len(said) == 5
    assert "300 of 1000 rows delivered" in said[0]
    assert said[3].endswith("failed   anna")
    assert "stopping" in said[4]
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_one_block_and_lines_that_stay():
    """At the end the block is gone; a dumb terminal gets lines."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, legacy_windows=False)
    screen = open_screen(console)
    assert isinstance(screen, LiveScreen)
    screen.show(VIEW)
    screen.line("failed   anna")
    screen.show(VIEW)
    screen.close()
    assert "failed   anna" in stream.getvalue()
    assert isinstance(open_screen(Console(file=stream)), LineScreen)
    dumb = Console(file=stream, force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(open_screen(dumb), LineScreen)


def test_an_error_of_snakemake_itself_is_seen(tmp_path, capsys, monkeypatch):
    """The end of what it said in this command, though its output is hidden."""
    config = load_config({"results": str(tmp_path), "run": "x"})
    conductor = Watched(config)
    before = tmp_path / "x" / "logs" / "snakemake.log"
    before.parent.mkdir(parents=True)
    before.write_text("of an earlier command\n")
    ended = conductor.run(["sh", "-c", "echo what is wrong >&2; exit 3"], lambda _: None)
    conductor.close(ended)
    said = capsys.readouterr().err
    assert ended.status == 3
    assert "what is wrong" in said
    assert "of an earlier command" not in said


def test_what_the_workflow_says_to_its_caller_is_shown(tmp_path, capsys):
    """Its refusal stands for Snakemake's words about it."""
    conductor = Watched(load_config({"results": str(tmp_path), "run": "x"}))
    script = 'echo "error: no weights" > "$DISPOSE_CALLER"; echo Traceback; exit 1'
    conductor.close(conductor.run(["sh", "-c", script], lambda _: None))
    said = capsys.readouterr()
    assert "error: no weights" in said.out
    assert "Traceback" not in said.out + said.err


def test_a_line_told_from_elsewhere_is_shown(tmp_path, capsys):
    """By a signal's handler or another thread, also at the very end."""
    conductor = Watched(load_config({"results": str(tmp_path), "run": "x"}))

    def told(run):
        conductor.tell("the budget is spent")

    ended = conductor.run(["true"], told)
    conductor.tell("and this")
    conductor.close(ended)
    said = capsys.readouterr().out
    assert "the budget is spent" in said
    assert "and this" in said
