"""What checkpoint files hold, by SHA-256: computed once, remembered by path, size and time."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.errors import WeightsError
from dispose_stages.weights.converted import content_identity
from dispose_stages.weights.verification import stage_files

_logger = logging.getLogger(__name__)
_FORMAT = 2
_LENGTH = 4
"""Of an entry: size, modification time, name, SHA-256."""


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
        if not isinstance(entries, dict):
            return {}
        return {k: v for k, v in entries.items() if isinstance(v, list) and len(v) == _LENGTH}

    def identity(self, path: Path) -> tuple[str, str]:
        """Name and SHA-256 of a file, or of the pickle that it is the conversion of.

        Raises:
            WeightsError: The file cannot be read, or is no true conversion.
        """
        path = path.absolute()
        try:
            status = path.stat()
            known = self._entries.get(str(path))
            if known and known[:2] == [status.st_size, status.st_mtime_ns]:
                return str(known[2]), str(known[3])
            _logger.info("reading %s (%.2f GB)", path, status.st_size / 1e9)
            name, value = content_identity(path)
        except OSError as error:
            raise WeightsError(f"{path}: {error}") from error
        self._entries[str(path)] = [status.st_size, status.st_mtime_ns, name, value]
        write_text(self.path, readable_json({"format": _FORMAT, "files": self._entries}))
        return name, value


def stage_digest(root: Path, stage: str, cache: DigestCache) -> str:
    """One digest over all files a stage loads; empty for a stage that loads none.

    It does not depend on where the folder lies, in which of its places a file is, or whether a
    pickle is loaded from its conversion.

    Raises:
        WeightsError: A file is missing, or is no true conversion.
    """
    files = stage_files(root, stage)
    if not files:
        return ""
    contents = [list(cache.identity(path)) for path in files]
    return hashlib.sha256(canonical_json(contents).encode()).hexdigest()


def digest_stages(root: Path, stages: Iterable[str], cache: DigestCache) -> dict[str, str]:
    """`stage_digest` of several stages."""
    return {stage: stage_digest(root, stage, cache) for stage in stages}
