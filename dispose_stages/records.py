"""JSON records: small files with a format name and a version, read with suspicion.

Whatever a file may hold (damage, another program's data, nesting without end, numbers that are no
numbers), reading it ends in a value or in one `StoreError` that names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dispose_stages.atomic import canonical_json, open_regular, readable_json
from dispose_stages.errors import NewerVersionError, StoreError

T = TypeVar("T")
MAX_BYTES = 1 << 30
"""Larger files are refused before they are read."""
_UNUSABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_bytes(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Content of an ordinary file; never waits for a pipe or a device.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It is no ordinary file, or larger than `limit`.
        OSError: It cannot be read.
    """
    with open_regular(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise StoreError(f"{path}: larger than {limit} bytes")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def parse(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is not JSON, nested too deeply, or holds NaN or an infinity.
    """
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_record(
    path: Path,
    form: str,
    version: int,
    build: Callable[[dict[str, Any]], T],
    *,
    sealed: bool = True,
) -> T:
    """Read a record.

    Args:
        form: Name of its format.
        version: Of the format that `build` understands.
        build: Makes the value of the record's fields, ``format`` and ``version`` taken out; its
            complaints about them (of the types, keys and values) become this function's.
        sealed: The record carries a checksum (`record_text` writes it), so that a value that was
            changed since is damage too.

    Raises:
        StoreError: It is absent, damaged, of another format or of an older version.
        NewerVersionError: It is of a newer version.
    """
    try:
        content = _checked(parse(read_bytes(path)), path, form, version, sealed=sealed)
        return build(content)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _UNUSABLE as error:
        raise StoreError(f"{path}: damaged: {type(error).__name__}: {error}") from None


def _checked(content: Any, path: Path, form: str, version: int, *, sealed: bool) -> dict[str, Any]:
    if not isinstance(content, dict) or content.pop("format", None) != form:
        raise StoreError(f"{path}: not a {form} file")
    if (found := content.pop("version", None)) != version:
        if isinstance(found, int) and found > version:
            raise NewerVersionError(str(path), found, version)
        old = f"has version {found!r}, this program reads {version}"
        raise StoreError(f"{path}: {old}; the command that made it makes it anew")
    if sealed and content.pop("checksum", None) != _checksum(content):
        raise StoreError(f"{path}: damaged: its checksum does not fit")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def record_text(form: str, version: int, content: Mapping[str, Any]) -> str:
    """The text of a record with its checksum; equal content gives equal bytes."""
    checksum = _checksum(content)
    return readable_json({"format": form, "version": version, "checksum": checksum, **content})
