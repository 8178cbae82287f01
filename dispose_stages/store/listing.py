"""What lies in a store, without reading arrays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dispose_stages.atomic import TEMPORARY_SUFFIX
from dispose_stages.errors import ArtifactCorruptError, ArtifactMissingError
from dispose_stages.records import parse
from dispose_stages.store import archive
from dispose_stages.store.artifacts import LEASE_SUFFIX, MAX_BYTES, PARTIAL_SUFFIX, SUFFIX


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store.

    Attributes:
        path: Where it lies.
        stage: Whose it is.
        key: Key of the artifact it holds, or part of.
        finished: Not the saved state of an unfinished unit, and not being written.
        size: Bytes.
        age: Seconds since it was last written.
    """

    path: Path
    stage: str
    key: str
    finished: bool
    size: int
    age: float


def stored_files(root: Path, stages: tuple[str, ...]) -> Iterator[StoredFile]:
    """Artifacts, saved states, leases and left-over temporary files; nothing else is listed."""
    now = time.time()
    for stage in stages:
        for folder, _, names in os.walk(root / stage):
            for name in names:
                key, finished = _parse(name)
                if not key:
                    continue
                path = Path(folder, name)
                try:
                    status = path.stat()
                except FileNotFoundError:  # just renamed or removed by a job
                    continue
                yield StoredFile(path, stage, key, finished, status.st_size, now - status.st_mtime)


def _parse(name: str) -> tuple[str, bool]:
    """Key and whether the file is finished; an empty key for files of another kind."""
    if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
        key = name.removeprefix(".").partition(".")[0]
        return key, False
    key, lease, number = name.partition(LEASE_SUFFIX)
    if lease and (not number or number.removeprefix(".").isdigit()):
        return key, False
    if name.endswith(PARTIAL_SUFFIX):
        return name.removesuffix(PARTIAL_SUFFIX), False
    return (name.removesuffix(SUFFIX), True) if name.endswith(SUFFIX) else ("", False)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array of an artifact.

    Attributes:
        name: Path within the artifact.
        dtype: Name of the type of its elements.
        shape: Its shape.
        axes: Names of the axes where they have one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]


def stored_arrays(path: Path) -> list[StoredArray]:
    """Arrays of an artifact, from its metadata alone.

    Raises:
        ArtifactMissingError: There is no such file.
        ArtifactCorruptError: It is no artifact.
    """
    try:
        heads = archive.unpack(
            path, max_bytes=MAX_BYTES, wanted=lambda name: name.endswith("/zarr.json")
        )
        parsed = {name: parse(head) for name, head in sorted(heads.items())}
        return [
            StoredArray(
                name.removesuffix("/zarr.json"),
                str(head["data_type"]),
                tuple(int(size) for size in head["shape"]),
                tuple(head.get("dimension_names") or ()),
            )
            for name, head in parsed.items()
            if head["node_type"] == "array"
        ]
    except FileNotFoundError:
        raise ArtifactMissingError(f"no artifact at {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorruptError(f"{path}: {error}") from error
