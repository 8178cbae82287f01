"""Tables that stand in a document between marks, and are made anew by the command that measures."""

from __future__ import annotations

from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.errors import ConfigError


def with_part(text: str, name: str, part: str) -> str:
    """A document with one of its parts replaced.

    Raises:
        ConfigError: It has no place for the part.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
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
