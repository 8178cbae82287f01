"""What lies in a store, without reading arrays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dispose_stages.atomic import TEMPORARY_SUFFIX
from dispose_stages.errors import ArtifactCorruptError, ArtifactMissingError
from dispose_stages.records import parse
from dispose_stages.store import archive
from dispose_stages.store.artifacts import KEY, LEASE_SUFFIX, MAX_BYTES, PARTIAL_SUFFIX, SUFFIX


class FileKind(StrEnum):
    """What a file of the store is."""

    ARTIFACT = "artifact"
    SAVED_STATE = "saved state"
    LEASE = "lease"
    TEMPORARY = "temporary file"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store.

    Attributes:
        key: Key of the artifact it holds, or part of.
        size: Bytes.
        age: Seconds since it was last written.
    """

    path: Path
    stage: str
    key: str
    kind: FileKind
    size: int
    age: float

    @property
    def finished(self) -> bool:
        """Whether it is an artifact."""
        return self.kind is FileKind.ARTIFACT


def stored_files(root: Path, stages: tuple[str, ...]) -> Iterator[StoredFile]:
    """Artifacts, saved states, leases and left-over temporary files; nothing else is listed."""
    now = time.time()
    for stage in stages:
        for folder, _, names in os.walk(root / stage):
            for name in names:
                key, kind = _parse(name)
                if not KEY.fullmatch(key):
                    continue
                path = Path(folder, name)
                try:
                    status = path.stat()
                except FileNotFoundError:  # just renamed or removed by a job
                    continue
                yield StoredFile(path, stage, key, kind, status.st_size, now - status.st_mtime)


def store_size(root: Path, stages: tuple[str, ...]) -> int:
    """Bytes of everything that `stored_files` lists."""
    return sum(file.size for file in stored_files(root, stages))


def _parse(name: str) -> tuple[str, FileKind]:
    """Key and kind; no key for files of no kind."""
    if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
        return name.removeprefix(".").partition(".")[0], FileKind.TEMPORARY
    key, lease, number = name.partition(LEASE_SUFFIX)
    if lease and (not number or number.removeprefix(".").isdigit()):
        return key, FileKind.LEASE
    if name.endswith(PARTIAL_SUFFIX):
        return name.removesuffix(PARTIAL_SUFFIX), FileKind.SAVED_STATE
    return (name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else "", FileKind.ARTIFACT)


def describe_arrays(path: Path) -> list[str]:
    """A line for each array of an artifact: name, type, sizes and axes, from its metadata alone.

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
            f"{name.removesuffix('/zarr.json')}: {head['data_type']} ({_shape(head)})"
            for name, head in parsed.items()
            if head["node_type"] == "array"
        ]
    except FileNotFoundError:
        raise ArtifactMissingError(f"no artifact at {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorruptError(f"{path}: {error}") from error


def _shape(head: Mapping[str, Any]) -> str:
    """``25 f x 18 n``; axes where they have a name."""
    sizes = [int(size) for size in head["shape"]]
    axes = head.get("dimension_names") or (None,) * len(sizes)
    named = zip(sizes, axes, strict=True)
    return " x ".join(f"{size} {axis or ''}".strip() for size, axis in named)
