"""Content-addressed artifacts: one zarr v3 group in one zip file per unit.

``root/<stage>/<key[:2]>/<key>.zarr.zip`` appears by rename, so a file that is there is whole. Its
bytes depend on what went in and on the library versions only; host, device and seconds belong to a
run's statistics. The format is specified in ``docs/data-format.md``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dispose_stages.atomic import replacing
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    NewerVersionError,
    StoreError,
)
from dispose_stages.records import parse
from dispose_stages.store import archive, zarr_group
from dispose_stages.store.encoding import (
    Json,
    Tree,
    content_digest,
    decode,
    encode,
    stored_form,
)
from dispose_stages.store.provenance import library_versions

FORMAT = "dispose-artifact"
FORMAT_VERSION = 1
SUFFIX = ".zarr.zip"
PARTIAL_SUFFIX = ".partial.zarr.zip"
LEASE_SUFFIX = ".lease"
MAX_BYTES = 8 << 30
"""Default limit on one artifact in memory."""
MAX_ATTRIBUTE_BYTES = 16 << 20

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_STAGE = re.compile(r"[a-z][a-z_]{0,63}", re.ASCII)
KEY = re.compile(r"[0-9a-f]{8,128}", re.ASCII)
_PARTIAL_KIND = "partial"


class ArtifactStore:
    """Reads and commits artifacts below one directory.

    Safe for any number of concurrent readers and writers: writers of one key write the same
    content, and the last rename wins.

    Args:
        root: The directory; made when something is first written.
        max_bytes: Artifacts that would take more memory than this are not read.
    """

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.root = Path(root)
        self._max_bytes = max_bytes

    def path(self, stage: str, key: str) -> Path:
        """Where an artifact is or would be; no other names than these are ever touched."""
        return self._path(stage, key, SUFFIX)

    def lease_path(self, stage: str, key: str) -> Path:
        """Where a job says that it is computing an artifact (`dispose_stages.batch.lease`)."""
        return self._path(stage, key, LEASE_SUFFIX)

    def _path(self, stage: str, key: str, suffix: str) -> Path:
        if not _STAGE.fullmatch(stage) or not KEY.fullmatch(key):
            raise StoreError(f"{stage!r}, {key!r} does not name an artifact")
        return self.root / stage / key[:2] / f"{key}{suffix}"

    def write(
        self, stage: str, key: str, artifact: object, attributes: Mapping[str, Json] | None = None
    ) -> str:
        """Commit an artifact, replacing what is there.

        Args:
            key: The unit's key, lower-case hexadecimal.
            artifact: One of `dispose_stages.artifacts`' dataclasses.
            attributes: What went into the key and whatever else explains the result; stored under
                ``provenance``, not part of the digest. Must not hold times or host names.

        Returns:
            The digest of the content.

        Raises:
            TypeError: A field does not have the type or shape that its annotation states.
        """
        tree = encode(artifact)
        return self._commit(self._path(stage, key, SUFFIX), stage, key, tree, attributes)

    def _commit(
        self, path: Path, stage: str, key: str, tree: Tree, attributes: Mapping[str, Json] | None
    ) -> str:
        digest = content_digest(tree)
        head: dict[str, Json] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "stage": stage,
            "key": key,
            "digest": digest,
            "libraries": dict(library_versions()),
            "provenance": dict(sorted((attributes or {}).items())),
        }
        with archive.Spool() as files:
            zarr_group.to_files(tree, head, files)
            with replacing(path) as temporary, temporary.open("wb") as stream:
                archive.pack_into(stream, files)
        return digest

    def read(self, stage: str, key: str, artifact_type: type[T]) -> T:
        """The artifact, checked against its digest and against the type's annotations.

        Raises:
            ArtifactMissingError: There is none.
            ArtifactCorruptError: It is damaged, too large or of another kind.
            NewerVersionError: It is of a newer format.
        """
        path = self._path(stage, key, SUFFIX)
        try:
            return decode(self._read(path, stage, key)[0], artifact_type)
        except ArtifactCorruptError as error:
            raise ArtifactCorruptError(f"{path}: {error}") from error

    def _read(self, path: Path, stage: str, key: str) -> tuple[Tree, str]:
        """All of a file, and its digest."""
        tree, recorded = self._unpacked(path, stage, key)
        if content_digest(tree) != recorded:
            raise ArtifactCorruptError("the content does not match its digest")
        return tree, recorded

    def _unpacked(
        self, path: Path, stage: str, key: str, wanted: Callable[[str], bool] = lambda _: True
    ) -> tuple[Tree, str]:
        """What members with a wanted name hold, and the digest that the file records."""
        try:
            with archive.opened(path, max_bytes=self._max_bytes, wanted=wanted) as files:
                head = _checked_head(files.get("zarr.json", b""), stage, key)
                return zarr_group.from_files(files, max_bytes=self._max_bytes), head["digest"]
        except FileNotFoundError:
            raise ArtifactMissingError(f"no artifact of {stage} with key {key}") from None

    def read_part(self, stage: str, key: str, *names: str) -> Tree:
        """Some arrays and groups of an artifact, and the values of its root.

        Only these are read and checked, by the checksums of the archive: of the digest nothing can
        be said.

        Raises:
            ArtifactMissingError: There is none.
            ArtifactCorruptError: It is damaged.
            NewerVersionError: It is of a newer format.
        """
        path = self._path(stage, key, SUFFIX)
        parts = {"zarr.json", *(f"{name}/" for name in names)}
        try:
            return self._unpacked(
                path, stage, key, lambda name: name[: name.find("/") + 1] in parts or name in parts
            )[0]
        except ArtifactCorruptError as error:
            raise ArtifactCorruptError(f"{path}: {error}") from error

    def digest(self, stage: str, key: str) -> str | None:
        """Digest as recorded, without reading the arrays; None where there is no usable file.

        A truncated, foreign or otherwise unusable file counts as absent, so that it is computed
        again and replaced. Damage inside an array shows when it is read.
        """
        try:
            return str(self.attributes(stage, key)["digest"])
        except ArtifactMissingError:
            return None
        except ArtifactCorruptError as error:
            _logger.warning("%s; it will be computed again", error)
            return None

    def verified_digest(self, stage: str, key: str) -> str:
        """Digest of an artifact's arrays, all of which are read.

        Raises:
            ArtifactMissingError: There is none.
            ArtifactCorruptError: It is damaged, or its arrays do not match the digest it records.
        """
        return self._read(self._path(stage, key, SUFFIX), stage, key)[1]

    def is_intact(self, stage: str, key: str) -> bool:
        """Whether an artifact is there and its arrays match its digest; reads all of it."""
        try:
            self.verified_digest(stage, key)
        except (ArtifactMissingError, ArtifactCorruptError):
            return False
        return True

    def attributes(self, stage: str, key: str) -> dict[str, Any]:
        """Root attributes, incl. ``kind``, ``values``, ``provenance`` and ``libraries``.

        Raises:
            ArtifactMissingError: There is none.
            ArtifactCorruptError: The file's head cannot be used.
        """
        path = self._path(stage, key, SUFFIX)
        try:
            head = archive.unpack_member(path, "zarr.json", max_bytes=MAX_ATTRIBUTE_BYTES)
            return _checked_head(head, stage, key)
        except FileNotFoundError:
            raise ArtifactMissingError(f"no artifact of {stage} with key {key}") from None
        except ArtifactCorruptError as error:
            raise ArtifactCorruptError(f"{path}: {error}") from error

    def remove(self, stage: str, key: str) -> None:
        """Delete an artifact, if there is one, so that it is computed again."""
        self._path(stage, key, SUFFIX).unlink(missing_ok=True)

    def keys(self, stage: str) -> Iterator[str]:
        """Keys of all files of a stage, in no order; their content is not looked at."""
        if not _STAGE.fullmatch(stage):
            raise StoreError(f"{stage!r} does not name a stage")
        try:
            folders = [entry.path for entry in os.scandir(self.root / stage) if entry.is_dir()]
        except FileNotFoundError:
            return
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    key = entry.name.removesuffix(SUFFIX)
                    if key != entry.name and KEY.fullmatch(key):
                        yield key

    def write_partial(
        self,
        stage: str,
        key: str,
        arrays: Mapping[str, np.ndarray],
        attributes: Mapping[str, Json] | None = None,
    ) -> None:
        """Keep the state of a computation under way, replacing an earlier one."""
        stored = {name: stored_form(array) for name, array in arrays.items()}
        tree = Tree(kind=_PARTIAL_KIND, values=dict(attributes or {}), arrays=stored)
        self._commit(self._path(stage, key, PARTIAL_SUFFIX), stage, key, tree, None)

    def read_partial(
        self, stage: str, key: str
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and attributes of `write_partial`; None where nothing usable is there."""
        path = self._path(stage, key, PARTIAL_SUFFIX)
        try:
            tree, _ = self._read(path, stage, key)
        except ArtifactMissingError:
            return None
        except ArtifactCorruptError as error:
            _logger.warning("%s: %s; starting over", path, error)
            return None
        return dict(tree.arrays), dict(tree.values)

    def drop_partial(self, stage: str, key: str) -> None:
        """Forget the state of a computation, if there is one."""
        self._path(stage, key, PARTIAL_SUFFIX).unlink(missing_ok=True)


def _checked_head(content: bytes, stage: str, key: str) -> dict[str, Any]:
    """Root attributes of a file that claims to be this artifact."""
    try:
        head = parse(content)["attributes"]
        version = head["format_version"]
        named = (head["format"], head["stage"], head["key"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactCorruptError(f"no readable root attributes ({error!r})") from error
    if named != (FORMAT, stage, key) or not isinstance(head.get("digest"), str):
        raise ArtifactCorruptError(f"is not the {FORMAT} of {stage} {key}")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise NewerVersionError(f"the artifact of {stage} {key}", version, FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ArtifactCorruptError(f"has format version {version}, not {FORMAT_VERSION}")
    return dict(head)
