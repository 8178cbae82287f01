"""Tables that stand in a document between marks, and are made anew by the command that measures."""

from __future__ import annotations


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"


def with_part(text: str, name: str, part: str) -> str:
    """A document with one of its parts replaced.

    Raises:
        ValueError: It has no place for the part.
    """
    begin, end = _marks(name)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the document has no {begin.strip()} with its {end} after it")
    return f"{before}{begin}{part}{end}{after}"


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
