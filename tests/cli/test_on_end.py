import sys

import pytest

from dispose_stages.cli.on_end import call_on_end, facts, split_command
from dispose_stages.errors import ConfigError
from tests.toy_run import plan_run


def test_the_command_hears_how_the_run_ended(tmp_path, capfd):
    """In its environment, through no shell."""
    run = plan_run(tmp_path)
    run.perform_all()
    code = "import os; print(os.environ['DISPOSE_RUN'], os.environ['DISPOSE_DELIVERED'])"
    call_on_end([sys.executable, "-c", code, "$(touch x)"], run.layout, 0, 12.4)
    assert capfd.readouterr().out == "demo 4\n"
    told = facts(run.layout, 3, 12.4)
    assert (told["DISPOSE_STATUS"], told["DISPOSE_SECONDS"], told["DISPOSE_ROWS"]) == (
        "3",
        "12",
        "4",
    )
    assert told["DISPOSE_RUN_DIR"] == str(run.layout.root)


@pytest.mark.parametrize("words", [["no-such-program"], ["false"]])
def test_a_command_that_fails_is_named_and_no_more(tmp_path, capsys, words):
    """The run has ended as it has."""
    run = plan_run(tmp_path)
    call_on_end(words, run.layout, 0, 1.0)
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "say 'it"])
def test_what_is_no_command_is_refused_before_the_run(text):
    """Not after hours."""
    with pytest.raises(ConfigError, match="--on-end"):
        split_command(text)
