"""Files that come from outside: regular, readable, and the same as when they were looked at."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dispose_stages.errors import Reason, UnitError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells a changed file from an unchanged one without reading it.

    The time of the last change of the inode cannot be set by programs that keep modification times
    (``cp -p``, ``rsync``).
    """

    path: str
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """None where there is no such file."""
        try:
            status = os.stat(path)  # noqa: PTH116 - one call serves size and time
        except (OSError, ValueError):
            return None
        return cls(str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def check_file(path: Path) -> int:
    """Size of a regular, non-empty, readable file; nothing else is ever opened.

    Raises:
        UnitError: ``media_missing``, ``media_empty`` or ``media_unreadable``.
    """
    try:
        status = path.stat()
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG:
            what = _KINDS.get(kind, "no file")
            raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: is {what}, not a file")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise UnitError(Reason.MEDIA_MISSING, f"{path}: no such file") from None
    except ValueError:
        raise UnitError(Reason.MEDIA_MISSING, f"{path}: not the name of a file") from None
    except OSError as error:
        links = error.errno == errno.ELOOP
        what = "links that lead in a circle" if links else str(error.strerror)
        raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: {what}") from error
    if status.st_size == 0:
        raise UnitError(Reason.MEDIA_EMPTY, f"{path}: the file has no content")
    return status.st_size


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def existing_folder(path: Path) -> Path:
    """The path or the nearest folder above it that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
