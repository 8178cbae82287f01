"""Text for people: what a terminal or a table may be shown, and what somebody may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

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
