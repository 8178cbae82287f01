"""Text for people: what may be shown, times and names, and what somebody may have meant."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_NAMED = 3
"""Names that a list shows."""

# Controls (but the line feed), the line and paragraph separators, surrogates that stand for
# undecodable bytes, and what turns the reading direction round. Joiners and spaces of all
# scripts are text.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with everything that could steer a terminal written as a visible escape."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same on one line, for a cell or a log."""
    return printable(text).replace("\n", "\\n")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean `seed`?`` where a known word is near, else nothing.

    Dotted words are near one another also when their last parts are.
    """
    names = list(known)
    short = word.rpartition(".")[2]
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = [last[short]] if short in last else get_close_matches(word, names, n=1, cutoff=0.75)
    near += [last[name] for name in get_close_matches(short, last, n=1)]
    return f"; did you mean `{near[0]}`?" if near else ""


def duration(seconds: float | None, *, exact: bool = False) -> str:
    """``45 s``, ``4 min``, ``2 h 07 min``, ``3 d 4 h``; a dash for None.

    Args:
        exact: Write ``0.42 s``, ``12.3 s``, ``4 min 05 s`` below an hour.
    """
    if seconds is None:
        return "\N{EN DASH}"
    if exact and round(seconds, 1) < 60:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if exact and minutes < 60:
        return f"{minutes} min {rest:02} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def clock_time(seconds: float, *, since: bool = False) -> str:
    """Time of day of a Unix time; with `since`, hours, minutes and seconds of a span."""
    if not since:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """``1 unit``, ``2 units``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def named(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:_NAMED]) or "no pair"
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def wrapped(text: str, width: int, indent: str, first: str | None = None) -> list[str]:
    """Lines of at most that width; words are never broken, however long.

    Args:
        text: On one line.
        width: With the indent.
        indent: Of every line.
        first: Instead of the indent of the first.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
