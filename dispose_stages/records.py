"""JSON records: small files with a format name and a version, read with suspicion.

Whatever a file may hold (damage, another program's data, nesting without end, numbers that are no
numbers), reading it ends in a value or in one `StoreError` that names it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dispose_stages.atomic import readable_json
from dispose_stages.errors import StoreError

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
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path}: not a file")
        if status.st_size > limit:
            raise StoreError(f"{path}: larger than {limit} bytes")
        return stream.read(limit)


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


def read_record(path: Path, form: str, version: int, build: Callable[[dict[str, Any]], T]) -> T:
    """Read a record.

    Args:
        path: The file.
        form: Name of its format.
        version: Of the format that `build` understands.
        build: Makes the value of the record's fields, ``format`` and ``version`` taken out; its
            complaints about them (of the types, keys and values) become this function's.

    Raises:
        StoreError: It is absent, damaged, of another format or version.
    """
    try:
        return build(_checked(parse(read_bytes(path)), path, form, version))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _UNUSABLE as error:
        raise StoreError(f"{path}: damaged: {type(error).__name__}: {error}") from None


def _checked(content: Any, path: Path, form: str, version: int) -> dict[str, Any]:
    if not isinstance(content, dict) or content.pop("format", None) != form:
        raise StoreError(f"{path}: not a {form} file")
    if (found := content.pop("version", None)) != version:
        raise StoreError(f"{path}: has version {found!r}, this program reads {version}")
    return content


def record_text(form: str, version: int, content: Mapping[str, Any]) -> str:
    """The text of a record; equal content gives equal bytes."""
    return readable_json({"format": form, "version": version, **content})
