from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.config import Config
from dispose_stages.errors import Reason, WarningCode
from dispose_stages.explanations import REASONS, WARNINGS, Explanation
from dispose_stages.missing import MISSING, Missing

DOCUMENT = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
ALL = [*REASONS.items(), *WARNINGS.items(), *MISSING.items()]


def test_everything_typed_is_explained() -> None:
    """Each reason, warning and kind of absent score has its entry, in the order of definition."""
    assert list(REASONS) == list(Reason)
    assert list(WARNINGS) == list(WarningCode)
    assert list(MISSING) == list(Missing)


@pytest.mark.parametrize("entry", [entry for _, entry in ALL], ids=[str(code) for code, _ in ALL])
def test_settings_in_a_remedy_exist(entry: Explanation) -> None:
    """A dotted name of a section in a remedy is a key of the configuration."""
    config = Config()
    text = entry.meaning + entry.sign + entry.remedy
    for section, name in re.findall(r"`([a-z]+)\.([a-z_]+)", text):
        assert hasattr(getattr(config, section), name), f"{section}.{name}"
    assert entry.meaning.endswith(".")
    assert entry.sign.endswith(".")
    assert entry.remedy.endswith(".")


HEAD = """\
# When something goes wrong

A run that has ended names what failed by reason, with what to do. Later, or on another machine:

```
dispose status RUN --pairs             # every row that was not delivered, and why
dispose logs RUN PAIR                  # what the jobs said about a pair
dispose explain REASON                 # the entry below
dispose retry RUN --reason REASON      # then the same `dispose run`: failed units are tried again
```

Where nothing runs at all, `dispose doctor` says what is missing, and the error its remedy. What
Snakemake itself said lies in `RUN/logs/snakemake.log`. A pair that merely waits says for which
stage; the same `dispose run` goes on.

Made from the table that `dispose explain` prints (`python -m tests.test_explanations`); a test
compares.
"""


def document() -> str:
    """The text of docs/troubleshooting.md."""
    parts = [HEAD]
    tables: tuple[tuple[str, Mapping[str, Explanation]], ...] = (
        ("Reasons of failures", REASONS),
        ("Warnings", WARNINGS),
        ("Why a score has no value", MISSING),
    )
    for title, table in tables:
        parts.append(f"\n## {title}\n")
        parts += [
            f"\n### `{code}`\n\n{entry.meaning}\n\n- See: {entry.sign}\n- Do: {entry.remedy}\n"
            for code, entry in table.items()
        ]
    return "".join(parts)


def test_the_document_says_what_the_command_says() -> None:
    """An entry per reason, warning and kind of absent score."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


if __name__ == "__main__":
    write_text(DOCUMENT, document())
