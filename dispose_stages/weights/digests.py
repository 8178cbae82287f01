"""What checkpoint files hold, by SHA-256: computed once, remembered by path, size and time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.errors import WeightsError
from dispose_stages.records import parse, read_bytes
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
            content = parse(read_bytes(self.path))
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
            if known := self.known(path):
                return known
            status = path.stat()
            _logger.info("reading %s (%.2f GB)", path, status.st_size / 1e9)
            name, value = content_identity(path)
        except OSError as error:
            raise WeightsError(f"{path}: {error}") from error
        self._entries[str(path)] = [status.st_size, status.st_mtime_ns, name, value]
        write_text(self.path, readable_json({"format": _FORMAT, "files": self._entries}))
        return name, value

    def known(self, path: Path) -> tuple[str, str] | None:
        """What `identity` would say, if the file need not be read for it."""
        with suppress(OSError):
            status = path.absolute().stat()
            entry = self._entries.get(str(path.absolute()))
            if entry and entry[:2] == [status.st_size, status.st_mtime_ns]:
                return str(entry[2]), str(entry[3])
        return None

    def known_digest(self, root: Path, stage: str) -> str | None:
        """What `stage_digest` would say, if no file need be read for it.

        Raises:
            WeightsError: A file is missing.
        """
        contents = [self.known(path) for path in stage_files(root, stage)]
        return None if None in contents else _digest_of(contents)


def _digest_of(contents: Sequence[tuple[str, str] | None]) -> str:
    """Of a stage that loads files of these names and contents; empty for none."""
    listed = [list(content) for content in contents if content is not None]
    return hashlib.sha256(canonical_json(listed).encode()).hexdigest() if listed else ""


def stage_digest(root: Path, stage: str, cache: DigestCache) -> str:
    """One digest over all files a stage loads; empty for a stage that loads none.

    It does not depend on where the folder lies, in which of its places a file is, or whether a
    pickle is loaded from its conversion.

    Raises:
        WeightsError: A file is missing, or is no true conversion.
    """
    return _digest_of([cache.identity(path) for path in stage_files(root, stage)])


def digest_stages(root: Path, stages: Iterable[str], cache: DigestCache) -> dict[str, str]:
    """`stage_digest` of several stages."""
    return {stage: stage_digest(root, stage, cache) for stage in stages}
