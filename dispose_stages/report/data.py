"""What the page loads when it is asked for: blocks of rows and columns, as scripts.

A page that was opened from a disk may not fetch anything, but it may run a script from beside it.
So every block is a script that hands its key and value to the page. Their names hold a digest of
their content: a page never meets blocks of another one. What a small run has lies in the page.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dispose_stages.atomic import write_text
from dispose_stages.report.columns import Table

BLOCK = 100
"""Rows per block."""
INLINE_ROWS = 200
"""Runs up to this size have their rows and columns inside the page."""
_LOCK = ".lock"
_UNSAFE = "<>&\u2028\u2029"


def script_json(value: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in _UNSAFE:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - everything that could be markup was replaced above


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from writing the same report meanwhile; they wait.

    Without locks, as on some network file systems, whoever writes last may leave gaps: the next
    report fills them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as stream:
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class PageFiles:
    """Writes the blocks of a page.

    Args:
        folder: Beside the page.

    Attributes:
        links: Key to link of the block, relative to the page.
        inline: Key to value of the blocks that the page holds itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._small = False
        self.links: dict[str, str] = {}
        self.inline: dict[str, Any] = {}

    def add_columns(self, table: Table) -> None:
        """Write every column; the table's size decides whether the page holds all itself."""
        self._small = table.rows <= INLINE_ROWS
        for number, column in enumerate(table):
            self._add(f"column{number}", column.data())

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows, block by block."""
        for number, block in enumerate(_blocks(rows)):
            self._add(f"rows{number}", block)

    def _add(self, key: str, value: Any) -> None:
        if self._small:
            self.inline[key] = value
            return
        # As text that the page parses: an object written as code would treat some names apart.
        text = f"disposeBlock({script_json(key)},{script_json(script_json(value))});\n"
        name = f"{key}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.js"
        path = self._folder / name
        if not path.exists():
            write_text(path, text)
        self.links[key] = f"{self._folder.name}/{name}"

    def sweep(self, used: Set[Path]) -> None:
        """Remove what neither the page nor its pictures need."""
        keep = {path.name for path in used} | {Path(link).name for link in self.links.values()}
        for path in self._folder.glob("*"):
            if path.name not in keep | {_LOCK} and path.is_file():
                path.unlink(missing_ok=True)


def _blocks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    stream = iter(rows)
    while block := list(islice(stream, BLOCK)):
        yield block
