"""Uncompressed zip files with reproducible bytes, read with bounded memory.

Members are stored, not deflated: zarr has compressed the chunks already, and a reader can tell from
the sizes alone how much memory a file will need.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Self

from dispose_stages.atomic import open_regular
from dispose_stages.errors import ArtifactCorruptError, StoreError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_UNIX = 3
_MODE = 0o100644 << 16
MAX_MEMBERS = 100_000
_SPOOLED_BYTES = 16 << 20


def pack(members: Mapping[str, bytes]) -> bytes:
    """Bytes of a zip file that depend on names and contents only."""
    buffer = io.BytesIO()
    pack_into(buffer, members)
    return buffer.getvalue()


def pack_into(stream: IO[bytes], members: Mapping[str, bytes]) -> None:
    """The same, never in memory as a whole.

    Args:
        stream: Can be sought in.
        members: Asked for one by one.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system = _UNIX
            info.external_attr = _MODE
            archive.writestr(info, members[name])


class Spool(MutableMapping[str, bytes]):
    """Contents by name: in memory as long as they are small together, then in a nameless file.

    A context manager; nothing is left of it afterwards.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES, prefix="dispose-")  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def __setitem__(self, name: str, content: bytes) -> None:
        with self._lock:
            self._places[name] = self._file.seek(0, os.SEEK_END), len(content)
            self._file.write(content)

    def __getitem__(self, name: str) -> bytes:
        with self._lock:
            start, length = self._places[name]
            self._file.seek(start)
            return self._file.read(length)

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _checked_members(archive: zipfile.ZipFile, max_bytes: int) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or len({m.filename for m in members}) != len(members):
        raise ArtifactCorruptError(f"{archive.filename}: too many or repeated members")
    for member in members:
        stored = member.compress_type == zipfile.ZIP_STORED
        if not stored or member.file_size != member.compress_size or member.flag_bits & 1:
            raise ArtifactCorruptError(f"{archive.filename}: {member.filename!r} is compressed")
    if sum(member.file_size for member in members) > max_bytes:
        raise ArtifactCorruptError(f"{archive.filename}: holds more than {max_bytes} bytes")
    return members


_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    RuntimeError,
    StoreError,
)


class Members(Mapping[str, bytes]):
    """Members of an open archive, each read (and its checksum looked at) when it is asked for.

    Args:
        members: Those that are shown.
    """

    def __init__(self, archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._members = {member.filename: member for member in members}

    def __getitem__(self, name: str) -> bytes:
        member = self._members[name]
        try:
            return self._archive.read(member)
        except _UNREADABLE as error:
            raise ArtifactCorruptError(f"{self._archive.filename}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@contextmanager
def opened(
    path: Path, *, max_bytes: int, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[Members]:
    """Members with a wanted name, while the file is open; nothing is extracted to disk.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactCorruptError: Not a zip, compressed members, or too large; from a member, a wrong
            checksum.
    """
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open_regular(path))
            archive = stack.enter_context(zipfile.ZipFile(stream))
            members = _checked_members(archive, max_bytes)
        except _UNREADABLE as error:
            raise ArtifactCorruptError(f"{path}: {error}") from error
        except OSError as error:
            raise _foreign(path, error) from error
        yield Members(archive, (member for member in members if wanted(member.filename)))


def unpack(
    path: Path, *, max_bytes: int, wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, bytes]:
    """The same, in memory."""
    with opened(path, max_bytes=max_bytes, wanted=wanted) as members:
        return dict(members)


def unpack_member(path: Path, name: str, *, max_bytes: int) -> bytes:
    """One small member; errors as in `unpack`, also where the member is absent."""
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            member = archive.getinfo(name)
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > max_bytes:
                raise ArtifactCorruptError(f"{path}: {name!r} is compressed or too large")
            return archive.read(member)
    except (*_UNREADABLE, KeyError) as error:
        raise ArtifactCorruptError(f"{path}: {error}") from error
    except OSError as error:
        raise _foreign(path, error) from error


def _foreign(path: Path, error: OSError) -> OSError:
    """What stands in an artifact's place and is none is damage; other faults stay what they are."""
    if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ENOTDIR}:
        return ArtifactCorruptError(f"{path}: {error.strerror}")
    return error
