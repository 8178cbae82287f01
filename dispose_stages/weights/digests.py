"""SHA-256 of checkpoint files, computed once and remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.errors import WeightsError
from dispose_stages.weights.verification import stage_files

_BLOCK = 4 * 2**20
_FORMAT = 1
Progress = Callable[[Path, int], None]


class DigestCache:
    """Digests in a small JSON file.

    A file counts as unchanged while its size and modification time are. Two processes may write
    the cache at once: the later one wins, and nothing but time is lost.

    Args:
        path: Of the JSON file; its folder is made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = self._read()

    def _read(self) -> dict[str, list[int | str]]:
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            return {}
        entries = content.get("files")
        return entries if isinstance(entries, dict) else {}

    def digest(self, path: Path, progress: Progress | None = None) -> str:
        """SHA-256 of one file, in hexadecimal.

        Args:
            path: The file.
            progress: Told the bytes of every block that is read.

        Raises:
            WeightsError: The file cannot be read.
        """
        path = path.resolve()
        try:
            status = path.stat()
            known = self._entries.get(str(path))
            if known and known[:2] == [status.st_size, status.st_mtime_ns]:
                return str(known[2])
            value = _sha256(path, progress)
        except OSError as error:
            raise WeightsError(f"{path}: {error}") from error
        self._entries[str(path)] = [status.st_size, status.st_mtime_ns, value]
        write_text(self.path, readable_json({"format": _FORMAT, "files": self._entries}))
        return value


def _sha256(path: Path, progress: Progress | None) -> str:
    value = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            value.update(block)
            if progress is not None:
                progress(path, len(block))
    return value.hexdigest()


def stage_digest(
    root: Path, stage: str, cache: DigestCache, progress: Progress | None = None
) -> str:
    """One digest over all files a stage loads; empty for a stage that loads none.

    It does not depend on where the folder lies or in which of its places a file is.

    Raises:
        WeightsError: A file is missing.
    """
    files = stage_files(root, stage)
    if not files:
        return ""
    contents = [[path.name, cache.digest(path, progress)] for path in files]
    return hashlib.sha256(canonical_json(contents).encode()).hexdigest()


def digest_stages(
    root: Path, stages: Iterable[str], cache: DigestCache, progress: Progress | None = None
) -> dict[str, str]:
    """`stage_digest` of several stages."""
    return {stage: stage_digest(root, stage, cache, progress) for stage in stages}
