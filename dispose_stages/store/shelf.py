"""Delivered videos: one file per pair, with a sidecar that says what it is.

``<folder>/<pair_id>.mp4`` and ``<folder>/<pair_id>.json`` (and ``<pair_id>.frames/`` on request).
Unlike artifacts these carry names that people know. A video counts as delivered when its sidecar
holds the wanted key and the size of the file; the sidecar is removed before and written after the
video, so the two never disagree.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dispose_stages.atomic import fsync_directory, readable_json, write_text
from dispose_stages.errors import NewerVersionError, StoreError
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.files import file_digest
from dispose_stages.store.provenance import library_versions

FORMAT = "dispose-video"
FORMAT_VERSION = 1
_STAGING = ".staging"
_PAIR_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{8,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Video:
    """An encoded video; what its sidecar adds is empty until it is delivered.

    Attributes:
        made_fps: Frame rate of what was made, where further frames are interpolated.
        frames_folder: The same frames as PNG files; None if not asked for.
        metadata: What the file says of itself.
        key: Of the unit that made it.
        digest: SHA-256 of the file.
        libraries: Versions of what made it.
    """

    path: Path
    frames: int
    height: int
    width: int
    fps: float
    made_fps: float | None = None
    frames_folder: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    digest: str = ""
    size_bytes: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)


class VideoShelf:
    """Reads and commits the delivered videos below one folder.

    Args:
        folder: Made when something is first delivered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def _named(self, pair_id: str, ending: str) -> Path:
        if not _PAIR_ID.fullmatch(pair_id):
            raise StoreError(f"{pair_id!r} cannot be a file name")
        return self.folder / f"{pair_id}{ending}"

    def sidecar(self, pair_id: str) -> Path:
        """Where a pair's sidecar is or would be."""
        return self._named(pair_id, ".json")

    def staging(self, pair_id: str, key: str, ending: str) -> Path:
        """Name, on the same file system, under which a file is prepared."""
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key!r} is no key")
        name = self._named(pair_id, f".{key}{ending}").name
        return self.folder / _STAGING / name

    def find(self, pair_id: str, key: str | None = None) -> Video | None:
        """The delivered video of a pair, if it has that key; None for the key takes any.

        Raises:
            NewerVersionError: A newer version of this program has delivered it.
        """
        path = self.sidecar(pair_id)
        try:
            content = parse(read_bytes(path))
            named = (content["format"], content["format_version"], content["pair_id"])
            if named[0] == FORMAT and named[1] > FORMAT_VERSION:
                raise NewerVersionError(str(path), named[1], FORMAT_VERSION)
            if named != (FORMAT, FORMAT_VERSION, pair_id):
                return None
            pictures = content["frames_folder"]
            found = Video(
                path=self.folder / Path(content["file"]).name,
                made_fps=content.get("made_fps"),
                frames_folder=self.folder / Path(pictures).name if pictures else None,
                metadata=content.get("metadata") or {},
                **{name: content[name] for name in ("key", "digest", "size_bytes", "frames")},
                **{name: content[name] for name in ("height", "width", "fps")},
                **{name: content[name] for name in ("provenance", "libraries")},
            )
            if found.path.stat().st_size != found.size_bytes or key not in {None, found.key}:
                return None
            if found.frames_folder and not found.frames_folder.is_dir():
                return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return found

    def recall(self, pair_id: str) -> None:
        """Let a video count as not delivered, so that it is made again; the file stays."""
        self.sidecar(pair_id).unlink(missing_ok=True)

    def digest(self, pair_id: str, key: str) -> str | None:
        """Digest of the delivered video, if it has that key and is whole."""
        found = self.find(pair_id, key)
        return found.digest if found else None

    def commit(
        self,
        pair_id: str,
        key: str,
        staged: Video,
        provenance: Mapping[str, Any],
        *,
        container: Literal["mp4", "mkv"] = "mp4",
    ) -> Video:
        """Give a staged video its name and write its sidecar."""
        path = self._named(pair_id, f".{container}")
        digest, size = file_digest(staged.path), staged.path.stat().st_size
        self.sidecar(pair_id).unlink(missing_ok=True)
        for other in ("mp4", "mkv"):
            if other != container:
                self._named(pair_id, f".{other}").unlink(missing_ok=True)
        frames_folder = self._named(pair_id, ".frames")
        shutil.rmtree(frames_folder, ignore_errors=True)
        if staged.frames_folder is not None:
            staged.frames_folder.replace(frames_folder)
        staged.path.replace(path)
        fsync_directory(self.folder)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "pair_id": pair_id,
            "key": key,
            "file": path.name,
            "digest": digest,
            "size_bytes": size,
            "frames": staged.frames,
            "height": staged.height,
            "width": staged.width,
            "fps": staged.fps,
            "frames_folder": frames_folder.name if staged.frames_folder else None,
            "synthetic": True,
            "metadata": dict(staged.metadata),
            "provenance": dict(provenance),
            "libraries": dict(library_versions()),
        }
        if staged.made_fps is not None:
            content["made_fps"] = staged.made_fps
        write_text(self.sidecar(pair_id), readable_json(content))
        delivered = self.find(pair_id, key)
        if delivered is None:
            raise StoreError(f"{path}: changed while it was being delivered")
        return delivered
