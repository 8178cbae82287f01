"""From the index of a run to the samples of a data set; whatever is left out has its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dispose_stages.batch.index import INDEX_FORMAT, INDEX_VERSION
from dispose_stages.errors import ExportError
from dispose_stages.export.filtering import selected
from dispose_stages.export.settings import ExportSettings
from dispose_stages.export.splits import split_by_group

LICENCE_COLUMNS = {"licence": ("licence", "license"), "consent": ("consent",)} | {
    "source_url": ("source_url",)
}
"""What must be known about a sample, and the columns that may say so."""
_SPLIT = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
Record = dict[str, Any]


class LeftOut(StrEnum):
    """Why a pair is no sample."""

    NOT_DELIVERED = "not_delivered"
    TAKEN_DOWN = "taken_down"
    FILTERED = "filtered"
    UNLICENSED = "unlicensed"
    NO_SPLIT = "no_split"
    BETWEEN_SPLITS = "between_splits"
    VIDEO_CHANGED = "video_changed"
    REFERENCE_CHANGED = "reference_changed"
    ARTIFACT_MISSING = "artifact_missing"
    NO_FRAMES = "no_frames"
    INTERPOLATED = "interpolated"

    @property
    def meaning(self) -> str:
        """For people."""
        return _MEANINGS[self]


_MEANINGS = {
    LeftOut.NOT_DELIVERED: "the run made no video of it",
    LeftOut.TAKEN_DOWN: "a source of it is on the takedown list",
    LeftOut.FILTERED: "the filter does not select it",
    LeftOut.UNLICENSED: "licence, consent or source are not stated",
    LeftOut.NO_SPLIT: "the manifest gives it no split",
    LeftOut.BETWEEN_SPLITS: "its groups (identity and driver) are in different splits",
    LeftOut.VIDEO_CHANGED: "its video is gone or not the one of the index",
    LeftOut.REFERENCE_CHANGED: "its reference image is gone or has changed since",
    LeftOut.ARTIFACT_MISSING: "its motion or the pose of its video is no longer in the store",
    LeftOut.INTERPOLATED: "its video has interpolated frames, which no pose belongs to",
    LeftOut.NO_FRAMES: "its lossless frames were not kept (encoding.png_frames)",
}


@dataclass(frozen=True, slots=True)
class Omission:
    """A pair that is left out.

    Attributes:
        pair_id: Its name; empty for a source that was taken down.
        reason: Why.
        detail: More about it.
    """

    pair_id: str
    reason: LeftOut
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of the index with their ``split``, in order, and what was left out."""

    records: list[Record]
    omissions: list[Omission]


def read_index(path: Path) -> pa.Table:
    """The index of a run.

    Raises:
        ExportError: It is absent, damaged or of another version.
    """
    remedy = "`dispose report` writes it"
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise ExportError(f"there is no {path}; {remedy}") from None
    except (OSError, pa.ArrowException) as error:
        raise ExportError(f"{path} cannot be read: {error}; {remedy}") from None
    metadata = table.schema.metadata or {}
    found = (metadata.get(b"format"), metadata.get(b"format_version"))
    if found != (INDEX_FORMAT.encode(), str(INDEX_VERSION).encode()):
        raise ExportError(f"{path} was written by another version of this program; {remedy}")
    for number, column in enumerate(table.schema):
        if pa.types.is_list(column.type):  # a data set's columns are plain values
            texts = table[column.name].cast(pa.list_(pa.string()))
            joined = pc.binary_join(texts, ", ")
            table = table.set_column(number, column.name, joined)
    return table


def select(table: pa.Table, settings: ExportSettings) -> Selection:
    """Choose the samples.

    Raises:
        ExportError: The filter, the groups or the splits cannot be used with this index, or
            licences are required and the index has no such column.
    """
    fits = selected(settings.filter, table) if settings.filter else [True] * len(table)
    _check_columns(table, settings)
    selection = _Selector(settings)
    for record, fit in zip(table.to_pylist(), fits, strict=True):
        selection.add(record, fits=fit)
    return _with_splits(selection.records, selection.omissions, table, settings)


def _check_columns(table: pa.Table, settings: ExportSettings) -> None:
    names = set(table.column_names)
    for group in settings.groups:
        if group not in names:
            raise ExportError(f"--group {group}: the index has no such column")
    missing = [what for what, columns in LICENCE_COLUMNS.items() if not names & set(columns)]
    if missing and not settings.unlicensed_ok:
        raise ExportError(
            f"the manifest says nothing about {', '.join(missing)}: add these columns and run "
            "again (nothing is computed anew), or export with --unlicensed-ok"
        )


class _Selector:
    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings
        self.records: list[Record] = []
        self.omissions: list[Omission] = []

    def add(self, record: Record, *, fits: bool) -> None:
        """Keep a pair, or note why not."""
        pair_id = record["pair_id"]
        missing = unlicensed(record)
        if record["status"] != "delivered":
            detail = record["reason"] or record["status"]
            self.omissions.append(Omission(pair_id, LeftOut.NOT_DELIVERED, detail))
        elif {record["reference_digest"], record["driver_digest"]} & self.settings.takedown:
            self.omissions.append(Omission("", LeftOut.TAKEN_DOWN))
        elif not fits:
            self.omissions.append(Omission(pair_id, LeftOut.FILTERED))
        elif missing and not self.settings.unlicensed_ok:
            self.omissions.append(Omission(pair_id, LeftOut.UNLICENSED, ", ".join(missing)))
        else:
            self.records.append(record)


def unlicensed(record: Record) -> list[str]:
    """What is not stated about a pair."""
    return [
        what
        for what, columns in LICENCE_COLUMNS.items()
        if not any(record.get(column) for column in columns)
    ]


def _with_splits(
    records: list[Record], omissions: list[Omission], table: pa.Table, settings: ExportSettings
) -> Selection:
    reason = LeftOut.BETWEEN_SPLITS if settings.shares else LeftOut.NO_SPLIT
    kept: list[Record] = []
    for record, split in zip(records, _splits(records, table, settings), strict=True):
        if split:
            kept.append({**record, "split": split})
        else:
            omissions.append(Omission(record["pair_id"], reason))
    return Selection(kept, omissions)


def _splits(
    records: list[Record], table: pa.Table, settings: ExportSettings
) -> Sequence[str | None]:
    if settings.shares:
        return split_by_group([groups_of(r, settings) for r in records], settings.shares)
    if "split" not in table.column_names:
        return ["train"] * len(records)
    for record in records:
        if record["split"] and not _SPLIT.fullmatch(record["split"]):
            raise ExportError(
                f"line {record['line']} of the manifest: the split {record['split']!r} cannot name "
                "a folder (letters, digits and _, in lower case)"
            )
    return [record["split"] for record in records]


def groups_of(record: Record, settings: ExportSettings) -> tuple[str, ...]:
    """Names of a pair's groups; an absent value is a group of its own."""
    absent = f"pair {record['pair_id']}"
    return tuple(absent if record[g] in {None, ""} else str(record[g]) for g in settings.groups)
