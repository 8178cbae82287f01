from __future__ import annotations

import re

import pytest

from dispose_stages.config import Config
from dispose_stages.errors import Reason, WarningCode
from dispose_stages.explanations import REASONS, WARNINGS, Explanation

ALL = [*REASONS.items(), *WARNINGS.items()]


def test_everything_typed_is_explained() -> None:
    """Each reason and each warning has its entry, in the order in which they are defined."""
    assert list(REASONS) == list(Reason)
    assert list(WARNINGS) == list(WarningCode)


@pytest.mark.parametrize("entry", [entry for _, entry in ALL], ids=[str(code) for code, _ in ALL])
def test_settings_in_a_remedy_exist(entry: Explanation) -> None:
    """A dotted name of a section in a remedy is a key of the configuration."""
    config = Config()
    for section, name in re.findall(r"`([a-z]+)\.([a-z_]+)", entry.meaning + entry.remedy):
        assert hasattr(getattr(config, section), name), f"{section}.{name}"
    assert entry.meaning.endswith(".")
    assert entry.remedy.endswith(".")
