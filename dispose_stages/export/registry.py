"""Where the data sets made of a run lie, so that a takedown finds them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.errors import StoreError
from dispose_stages.records import read_record, record_text

_FORM = ("dispose-export-place", 1)
_logger = logging.getLogger(__name__)


def register(layout: RunLayout, folder: Path) -> None:
    """Remember that a data set is made in a folder."""
    path = folder.absolute()
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    write_text(layout.exports / f"{name}.json", record_text(*_FORM, {"folder": str(path)}))


def registered(layout: RunLayout) -> Iterator[Path]:
    """Folders of all data sets that were made of a run."""
    for path in sorted(layout.exports.glob("*.json")):
        try:
            yield read_record(path, *_FORM, lambda content: Path(content["folder"]))
        except StoreError as error:
            _logger.warning("a data set cannot be found: %s", error)
