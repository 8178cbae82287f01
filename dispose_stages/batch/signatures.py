"""Short digests by which it is known that something has to run or be written again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.ledger import Shard
from dispose_stages.store.files import file_digest

_DIGITS = 16


def shard_signature(shard: Shard, epoch: int) -> str:
    """Changes whenever the shard's job has to run again.

    Args:
        shard: What the job is given.
        epoch: How often it was re-opened.
    """
    parts = [_digest(shard.to_json())]
    if shard.stage == "ingest":
        media = {path for unit in shard.units for path in unit.sources.values()}
        parts.append(_digest(canonical_json([_state(path) for path in sorted(media)])))
    if epoch:
        parts.append(f"again {epoch}")
    return ", ".join(parts)


def weights_signature(root: Path) -> str:
    """Sizes and times of all files below `root`; changes when a checkpoint is replaced.

    Where the folder lies does not matter.
    """
    return _digest(canonical_json(sorted(_states_below(root))))


def _states_below(root: Path) -> Iterator[list[Any]]:
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - os.walk gives strings
            yield [os.path.relpath(path, root), *_state(path)[1:]]


def _state(path: str) -> list[Any]:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call serves size and time
    except (OSError, ValueError):
        return [path]
    return [path, status.st_size, status.st_mtime_ns]


def _digest(text: str) -> str:
    return text_signature([text])


def text_signature(pieces: Iterable[str]) -> str:
    """Of a text that comes in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode())
    return digest.hexdigest()[:_DIGITS]


def is_written(path: Path, signature: str) -> bool:
    """Whether a file holds the text of that signature."""
    return path.is_file() and file_digest(path).startswith(signature)
