"""What freed artifacts were: their digest and what they were made from, a small file per folder.

Videos name their sources through their artifacts, and a takedown finds what hangs on a source the
same way; both must hold after an artifact of some megabytes has made room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dispose_stages.atomic import write_text
from dispose_stages.errors import ArtifactCorruptError, ArtifactMissingError, StoreError
from dispose_stages.records import read_record, record_text
from dispose_stages.store.artifacts import ArtifactStore

_FORM = ("dispose-freed", 1)
NAME = "freed.json"


def read_freed(folder: Path) -> dict[str, dict[str, Any]]:
    """Key to digest and provenance of everything that was freed from a folder of artifacts.

    Raises:
        StoreError: The file is there but cannot be used.
    """
    path = folder / NAME
    return (
        read_record(path, *_FORM, lambda content: dict(content["heads"])) if path.exists() else {}
    )


def freed_heads(store: ArtifactStore, stage: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and head of all freed artifacts of a stage; what cannot be read is left out."""
    for path in sorted((store.root / stage).glob(f"*/{NAME}")):
        try:
            yield from read_freed(path.parent).items()
        except StoreError:
            continue


def free_artifacts(store: ArtifactStore, stage: str, keys: list[str]) -> Iterator[str]:
    """Delete artifacts of a stage, having noted what they were; yields the keys as they go.

    What cannot be read is left alone: nobody could tell any more what it was made from.
    """
    by_folder: dict[Path, list[str]] = {}
    for key in keys:
        by_folder.setdefault(store.path(stage, key).parent, []).append(key)
    for folder, of_folder in sorted(by_folder.items()):
        heads = read_freed(folder)
        for key in of_folder:
            try:
                head = store.attributes(stage, key)
            except (ArtifactMissingError, ArtifactCorruptError):
                continue
            heads[key] = {"digest": head["digest"], "provenance": head["provenance"]}
        write_text(folder / NAME, record_text(*_FORM, {"heads": heads}))
        for key in of_folder:
            if key in heads:
                store.remove(stage, key)
                yield key


def provenance(store: ArtifactStore, stage: str, key: str) -> Mapping[str, Any]:
    """What an artifact was made from, also where it was freed.

    Raises:
        ArtifactMissingError: Nothing is known of it.
        ArtifactCorruptError: Its head cannot be used.
        StoreError: The note on it cannot be used.
    """
    try:
        found: Mapping[str, Any] = store.attributes(stage, key)["provenance"]
    except ArtifactMissingError:
        head = read_freed(store.path(stage, key).parent).get(key)
        if head is None:
            raise
        found = head["provenance"]
    return found
