import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dispose_stages.cli import COMMANDS, cli

RULES = Path(__file__).parents[2] / "workflow/rules"
JOBS = [
    match
    for path in sorted(RULES.glob("*.smk"))
    for match in re.findall(r'"dispose (?!train)(\w[^">]*)', path.read_text())
]


def parsed(words):
    """The command that is meant and its parameters, as the command line reads them."""
    context = click.Context(cli)
    _, command, rest = cli.resolve_command(context, list(words))
    return command.make_context("x", rest, parent=context).params


def test_every_command_about_a_run_takes_it_first():
    """As an argument, and none has an option for it."""
    context, about_a_run = click.Context(cli), set()
    for name in COMMANDS:
        first = next(iter(cli.get_command(context, name).params), None)
        assert "--run-dir" not in getattr(first, "opts", ())
        if isinstance(first, click.Argument) and first.name.startswith("run"):
            about_a_run.add(name)
    assert {"status", "logs", "inspect", "report", "verify", "retry", "gc", "table"} <= about_a_run
    assert {"fingerprint", "ingest", "pose", "score"} <= about_a_run


@pytest.mark.parametrize(
    "words",
    [
        ("logs", "anna", "--run-dir", "r"),
        ("logs", "--run-dir=r", "anna", "--stage", "pose"),
        ("inspect", "anna", "--run-dir", "r", "--preview", "out"),
        ("report", "--only", "page", "--run-dir", "r"),
    ],
)
def test_the_former_spelling_means_the_same(words):
    """Wherever the option stands."""
    found = parsed(words)
    assert found["run_dir"] == Path("r")
    assert found.get("pair_id", "anna") == "anna"


def test_several_runs(tmp_path):
    """`gc` takes as many as are given."""
    found = parsed(("gc", "--run-dir", "a", "--delete", "--run-dir", "b"))["run_dirs"]
    assert found == parsed(("gc", "a", "b"))["run_dirs"] == (Path("a"), Path("b"))


def test_without_a_run_nothing_is_done():
    """Also where the former option ends the line."""
    for words in (["report"], ["report", "--run-dir"]):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 2
        assert "Missing argument 'RUN_DIR'" in result.output


def test_what_snakemake_gets_is_left_alone():
    """Behind `--` everything is somebody else's."""
    assert parsed(("run", "--", "--run-dir", "x"))["extra"] == ("--run-dir", "x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "pairs.csv"), "--manifest"),
        (("run", "--run-dir", "results/demo"), "--set run=NAME"),
        (("run", "--dry-run", "results/demo", "--", "--until", "motion"), "--set run=NAME"),
        (("benchmark", "demo", "more"), "`--`"),
    ],
)
def test_a_word_that_is_nobodys_is_refused(words, said):
    """Snakemake would take it for a file to make, or read it as a configuration."""
    with pytest.raises(click.UsageError, match="not expected here") as caught:
        parsed(words)
    assert said in str(caught.value)


def test_a_command_of_a_group_takes_its_run_itself():
    """The former spelling never was one there; it is not taken for the command's name."""
    result = CliRunner().invoke(cli, ["vbench", "export", "--run-dir", "r", "--to", "x"])
    assert "No such option '--run-dir'" in result.output


@pytest.mark.parametrize("job", JOBS)
def test_the_commands_of_the_rules_are_understood(job):
    """What Snakemake fills in stands for itself, a number for an attempt."""
    words = shlex.split(re.sub(r"\{[^}]*\}", "7", job))
    assert parsed(words)["run_dir"] == Path("7")


def test_every_stage_has_a_rule_whose_command_was_looked_at():
    """The search above finds them."""
    assert {job.split()[0] for job in JOBS} >= {"fingerprint", "report", "pose", "score"}
