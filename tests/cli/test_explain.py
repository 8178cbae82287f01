import pytest
from click.testing import CliRunner

from dispose_stages.cli import cli
from dispose_stages.errors import ConfigError, Reason, WarningCode
from dispose_stages.missing import Missing


@pytest.mark.parametrize(
    "code", sorted({*map(str, Reason), *map(str, WarningCode), *map(str, Missing)})
)
def test_every_reason_and_warning_is_explained(code):
    """What it means, how to see it and what to do."""
    said = CliRunner().invoke(cli, ["explain", code]).output
    assert "means: " in said
    assert "see: " in said
    assert "do: " in said


def test_without_a_reason_all_are_listed():
    """A line each."""
    said = CliRunner().invoke(cli, ["explain"]).output
    assert len(said.splitlines()) == len(Reason) + len(WarningCode) + len(Missing)


def test_an_unknown_reason_is_named_with_its_neighbour():
    """A typo is no riddle."""
    result = CliRunner().invoke(cli, ["explain", "media_mising"])
    assert isinstance(result.exception, ConfigError)
    assert "did you mean `media_missing`?" in str(result.exception)
