"""Tables that stand in a document between marks, and are made anew by the command that measures."""

from __future__ import annotations

from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.errors import ConfigError


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"


def with_part(text: str, name: str, part: str) -> str:
    """A document with one of its parts replaced.

    Raises:
        ConfigError: It has no place for the part.
    """
    begin, end = _marks(name)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ConfigError(f"the document has no {begin.strip()} with its {end} after it")
    return f"{before}{begin}{part}{end}{after}"


def replace_part(path: Path, name: str, part: str) -> None:
    """The same in a file.

    Raises:
        ConfigError: It has no place for the part.
    """
    write_text(path, with_part(path.read_text(encoding="utf-8"), name, part))


def part_of(text: str, name: str) -> str:
    """One of a document's parts; empty where it has none of that name."""
    begin, end = _marks(name)
    return text.partition(begin)[2].partition(end)[0]


def read_tables(text: str) -> list[list[list[str]]]:
    """Cells of every Markdown table, the header first, the line below it left out."""
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    return [[table[0], *table[2:]] for table in tables if table]
