"""Uncompressed zip files with reproducible bytes, read with bounded memory.

Members are stored, not deflated: zarr has compressed the chunks already, and a reader can tell from
the sizes alone how much memory a file will need.
"""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dispose_stages.atomic import open_regular
from dispose_stages.errors import ArtifactCorruptError, StoreError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_UNIX = 3
_MODE = 0o100644 << 16
MAX_MEMBERS = 100_000


def pack(members: Mapping[str, bytes]) -> bytes:
    """Bytes of a zip file that depend on names and contents only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system = _UNIX
            info.external_attr = _MODE
            archive.writestr(info, members[name])
    return buffer.getvalue()


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


def unpack(
    path: Path, *, max_bytes: int, wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, bytes]:
    """All members with a wanted name, in memory; nothing is extracted to disk.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactCorruptError: Not a zip, a wrong checksum, compressed members, or too large.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            return {
                member.filename: archive.read(member)
                for member in _checked_members(archive, max_bytes)
                if wanted(member.filename)
            }
    except _UNREADABLE as error:
        raise ArtifactCorruptError(f"{path}: {error}") from error
    except OSError as error:
        raise _foreign(path, error) from error


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
