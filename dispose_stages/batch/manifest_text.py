"""From the bytes of a manifest to its cells, whichever program wrote them.

What is certain is read: UTF-8, UTF-16 with its mark; columns separated by commas, semicolons or
tabs or as a first line ``sep=`` says; empty columns and cells at the end. What could only be
guessed is refused with its cause: a wrong guess at an encoding would be another file's name.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dispose_stages.errors import ManifestError
from dispose_stages.records import read_bytes

_MAX_BYTES = 1 << 28
_REMEDY = "save it as CSV in UTF-8"
_SEPARATORS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?(?:\r\n|\r|\n|$)', re.IGNORECASE)


def read_table(path: Path, columns: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every row that says anything; first the header.

    Args:
        columns: Known names, which tell the separator.

    Raises:
        ManifestError: It is not there, no text, in an encoding that can only be guessed, or no CSV.
    """
    try:
        content = read_bytes(path, limit=_MAX_BYTES)
    except FileNotFoundError:
        raise ManifestError(
            f"no manifest at {path}; name yours with --manifest, or begin with `dispose init`"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = decode(content)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None
    return _read_cells(text, columns, str(path))


def decode(content: bytes) -> str:
    """The text of a file.

    Raises:
        ManifestError: Says what the file seems to be instead of UTF-8 or marked UTF-16.
    """
    if content.startswith(b"PK\x03\x04"):
        raise ManifestError(f"is a spreadsheet or another zip archive, not CSV; {_REMEDY}")
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ManifestError(f"is UTF-32, not UTF-8; {_REMEDY}")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise ManifestError(f"begins as UTF-16 but is damaged or cut; {_REMEDY}") from None
    if b"\0" in content:
        unmarked = 0 in content[:4] and content.count(0) * 3 > len(content)
        kind = "UTF-16 without a byte order mark" if unmarked else "no text: it holds zero bytes"
        raise ManifestError(f"is {kind}, not UTF-8; {_REMEDY}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(_not_utf8(content, error.start)) from None


def _not_utf8(content: bytes, place: int) -> str:
    line = content.count(b"\n", 0, place) + 1
    byte = content[place : place + 1]
    letter = byte.decode("cp1252", errors="replace")
    return (
        f"line {line}: byte 0x{byte.hex()} is not UTF-8; the file seems to be in an 8-bit encoding "
        f"such as Windows-1252 (where that is {letter!r}), which is not guessed; {_REMEDY}"
    )


def _read_cells(text: str, columns: Collection[str], name: str) -> Iterator[tuple[int, list[str]]]:
    said = _SEPARATOR_LINE.match(text)
    separator = said[1] if said else _find_separator(text, columns)
    body = text[said.end() :] if said else text
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    lines_before = 1 if said else 0
    width = 0
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while len(cells) > width and not cells[-1]:
                cells.pop()
            if any(cells):
                width = width or len(cells)
                yield reader.line_num + lines_before, cells
    except csv.Error as error:
        line = reader.line_num + lines_before
        raise ManifestError(f"{name}, line {line}: not valid CSV: {error}") from None


def _find_separator(text: str, columns: Collection[str]) -> str:
    """What splits the first line into the most known names."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def known(separator: str) -> int:
        cells = next(csv.reader([header], delimiter=separator), [])
        return sum(cell.strip() in columns for cell in cells)

    return max(_SEPARATORS, key=known)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows of cells as CSV, as this program writes it."""
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(rows)
    return output.getvalue()


def as_stored(path: Path) -> Path:
    """The path under which a file is there, if its accents are stored in the other Unicode form.

    ``é`` is one sign (NFC, as Windows and Linux type it) or two (NFD, as macOS stores it); names
    look the same and are different files to Linux. A file of exactly the given name comes first.
    """
    if str(path).isascii() or path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[1:]:
        name = part if os.path.lexists(found / part) else _same_name(found, part)
        if name is None:
            return path
        found /= name
    return found


def _same_name(folder: Path, name: str) -> str | None:
    wanted = unicodedata.normalize("NFC", name)
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except OSError:
        return None
    same = [each for each in names if unicodedata.normalize("NFC", each) == wanted]
    return same[0] if len(same) == 1 else None
