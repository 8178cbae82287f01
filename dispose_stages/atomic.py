"""Files that are either there whole or not at all, and files that one process holds."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from dispose_stages.errors import StoreError

TEMPORARY_SUFFIX = ".tmp"
"""Ending of files that are being written; whatever has it may be deleted when no job runs."""
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def try_lock(file: int | IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file, until it is closed; False where another process has it.

    Args:
        kind: ``fcntl.LOCK_EX`` or ``fcntl.LOCK_SH``.

    Raises:
        OSError: The file system knows no locks.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def temporary_name(path: Path) -> Path:
    """A fresh hidden name in the same directory as `path`, hence on the same file system."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def commit(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file to disk and give it its final name."""
    _fsync(temporary, os.O_RDONLY)
    temporary.replace(path)
    fsync_directory(path.parent)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success rename it over `path`, else remove it.

    The file is created by the caller, with the permissions the umask gives. Its content is flushed
    to disk before the rename, the directory after it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        commit(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: Path) -> BufferedReader:
    """Open an ordinary file for reading; never waits for a pipe, never reads a device.

    Raises:
        FileNotFoundError: There is none.
        StoreError: Something else has its name.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"{path}: not a file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor; the caller closes it


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file atomically and durably."""
    write_bytes(path, content.encode())


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write a whole UTF-8 file atomically and durably, never holding all of it."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        stream.writelines(pieces)


def write_text_if_changed(path: Path, content: str) -> bool:
    """Write unless the file already says the same; returns whether it was written.

    Keeps modification times of unchanged files, which Snakemake looks at.
    """
    encoded = content.encode()
    try:
        with open_regular(path) as stream:
            if stream.read(len(encoded) + 1) == encoded:
                return False
    except OSError:
        pass
    write_bytes(path, encoded)
    return True


def canonical_json(value: Any) -> str:
    """The one way to write a value: sorted keys, no spaces, no NaN."""
    return _CANONICAL.encode(value)


def readable_json(value: Any) -> str:
    """Sorted and indented, with a final newline; byte-stable for equal values."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
