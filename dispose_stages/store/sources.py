"""Whether a source is still the file whose content a key names.

Between ingest and a later stage a file may have been replaced; what is computed from the new
content under the old content's key would poison the store for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.errors import Reason, UnitError
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.files import FileState, check_file, file_digest

_FORMAT = "dispose-content"


class ContentMemory:
    """Digests of files by their state; small JSON files that may be deleted at any time."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def remember(self, state: FileState, digest: str) -> None:
        """A file in this state has this content."""
        content = {"format": _FORMAT, "path": state.path, "digest": digest}
        write_text(self._path(state), readable_json(content))

    def digest(self, state: FileState) -> str:
        """Digest of the file in this state; read only if it is not known."""
        try:
            content = parse(read_bytes(self._path(state)))
            if content["format"] == _FORMAT:
                return str(content["digest"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
        digest = file_digest(Path(state.path))
        if FileState.of(Path(state.path)) == state:
            self.remember(state, digest)
        return digest

    def _path(self, state: FileState) -> Path:
        return state_path(self._root, _FORMAT, state)


def state_path(root: Path, of: str, state: FileState) -> Path:
    """Where something is remembered of a file in a state."""
    key = hashlib.sha256(canonical_json([of, asdict(state)]).encode()).hexdigest()[:40]
    return root / key[:2] / f"{key}.json"


@contextmanager
def unchanged(
    sources: Mapping[str, Path], facts: Mapping[str, Mapping[str, Any]], memory: ContentMemory
) -> Iterator[None]:
    """Hold that the sources are what ingest saw, before and after they are read.

    Args:
        sources: Role to file.
        facts: What ingest said of each: ``digest`` and ``size_bytes``; a file of which it said
            neither is not checked.

    Raises:
        UnitError: ``source_changed``; ``media_missing`` and the like where a file is gone.
    """
    known = [r for r in sources if {"digest", "size_bytes"} <= facts.get(r, {}).keys()]
    states = {sources[role]: _checked(sources[role], facts[role], memory) for role in known}
    try:
        yield
    except UnitError as error:
        _compare(states, error)
        raise
    _compare(states)


def _checked(path: Path, facts: Mapping[str, Any], memory: ContentMemory) -> FileState:
    check_file(path)
    state = FileState.of(path)
    if state is None or state.size != facts["size_bytes"]:
        raise _changed(path)
    if memory.digest(state) != facts["digest"]:
        raise _changed(path)
    return state


def _compare(states: Mapping[Path, FileState], cause: UnitError | None = None) -> None:
    for path, state in states.items():
        if FileState.of(path) != state:
            raise _changed(path) from cause


def _changed(path: Path) -> UnitError:
    message = f"{path}: changed since it was looked at; the same command looks at it again"
    return UnitError(Reason.SOURCE_CHANGED, message)
