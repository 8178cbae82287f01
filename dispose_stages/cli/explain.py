"""``dispose explain``: what a reason or a warning means, how to see it, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import click

from dispose_stages.cli.terminal import say
from dispose_stages.errors import ConfigError
from dispose_stages.explanations import REASONS, WARNINGS, Explanation
from dispose_stages.missing import MISSING
from dispose_stages.wording import did_you_mean, wrapped


@click.command()
@click.argument("code", required=False, metavar="[REASON]")
def explain(*, code: str | None) -> None:
    """Say what REASON means and what to do about it.

    Reasons are named by `dispose status`, `dispose table`, failures.csv, scores.parquet and the
    report. Without REASON: all reasons and warnings, a line each.
    """
    if code is None:
        for name, meaning in summaries():
            say(f"{name:<24} {meaning}")
        return
    for line in explanation_lines(code):
        say(line)


def summaries() -> Iterator[tuple[str, str]]:
    """Every reason and warning with the first sentence of its meaning."""
    for kind, table in (("", REASONS), (" (warning)", WARNINGS), (" (no score)", MISSING)):
        for code, explanation in table.items():
            yield f"{code}{kind}", _first_sentence(explanation.meaning)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def explanation_lines(code: str) -> Iterator[str]:
    """Everything about one code; one that is of several kinds is explained as each.

    Raises:
        ConfigError: There is no such code.
    """
    known = [*REASONS, *WARNINGS, *MISSING]
    if code not in known:
        raise ConfigError(f"there is no reason {code!r}{did_you_mean(code, known)}")
    if code in REASONS:
        yield from _entry(code, "reason of a failure", REASONS[code])
        yield f"  again:  dispose retry RUN_DIR --reason {code}"
    if code in WARNINGS:
        yield from _entry(code, "warning", WARNINGS[code])
    if code in MISSING:
        yield from _entry(code, "why a score has no value", MISSING[code])


def _entry(code: str, kind: str, explanation: Explanation) -> Iterator[str]:
    yield f"{code} ({kind})"
    for title, text in (
        ("means", explanation.meaning),
        ("see", explanation.sign),
        ("do", explanation.remedy),
    ):
        yield from wrapped(text, 96, " " * 10, f"  {title + ':':<8}")
