"""All that lies beside the samples: tables, card, Croissant description, digests."""

from __future__ import annotations

from pathlib import Path

from dispose_stages.atomic import write_text
from dispose_stages.export.card import CARD, card_text
from dispose_stages.export.croissant import write_croissant
from dispose_stages.export.dataset import DataSet


def write_documents(folder: Path, dataset: DataSet) -> None:
    """Write everything; the digests last, as a sign that the data set is complete.

    Raises:
        ExportError: The Croissant description is not valid.
    """
    dataset.write_tables(folder)
    write_croissant(folder, dataset)
    write_text(folder / CARD, card_text(dataset))
    dataset.write_sums(folder)
