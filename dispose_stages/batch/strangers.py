"""Videos that no row of the manifest owns: the row was removed, renamed, or another run's.

They are nobody's result any more, but somebody's work: they are moved away, never deleted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row

STRANGERS_REMEDY = "`dispose gc --videos` moves them away"
_ENDINGS = (".json", ".mp4", ".mkv", ".frames")


def stranger_videos(layout: RunLayout, rows: Iterable[Row]) -> list[str]:
    """Names of the pairs whose videos lie there and that are no rows."""
    own = {row.pair_id for row in rows}
    return sorted(_pairs_in(layout.videos) - own)


def _pairs_in(folder: Path) -> set[str]:
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return set()
    stems = (name.removesuffix(end) for name in names for end in _ENDINGS if name.endswith(end))
    return {stem for stem in stems if stem and not stem.startswith(".")}


def move_away(layout: RunLayout, pair_ids: Sequence[str]) -> list[Path]:
    """Move videos and what belongs to them to `RunLayout.removed`; returns where they are now.

    The sidecar goes last, so that a move that was cut short is seen, and ended, by the next.
    """
    moved = []
    for pair_id in pair_ids:
        for ending in reversed(_ENDINGS):
            path = layout.videos / f"{pair_id}{ending}"
            if path.exists():
                layout.removed.mkdir(parents=True, exist_ok=True)
                target = _free_name(layout.removed / path.name)
                shutil.move(path, target)  # `videos` may be a link to another disk
                moved.append(target)
    return moved


def _free_name(path: Path) -> Path:
    number, name = 1, path
    while name.exists():
        number += 1
        name = path.with_name(f"{path.stem}~{number}{path.suffix}")
    return name
