"""Where the data sets made of a run lie, so that a takedown finds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.batch.layout import RunLayout

FORMAT = "dispose-export-place"


def register(layout: RunLayout, folder: Path) -> None:
    """Remember that a data set is made in a folder."""
    path = folder.absolute()
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    content = {"format": FORMAT, "version": 1, "folder": str(path)}
    write_text(layout.exports / f"{name}.json", readable_json(content))


def registered(layout: RunLayout) -> Iterator[Path]:
    """Folders of all data sets that were made of a run."""
    for path in sorted(layout.exports.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] == FORMAT:
                yield Path(content["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
