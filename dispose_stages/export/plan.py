"""Which samples an export has and how they are spread over shards, worked out from the index."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dispose_stages.atomic import canonical_json
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.run_files import read_pairs, read_run_config
from dispose_stages.batch.strangers import STRANGERS_REMEDY, stranger_videos
from dispose_stages.config import Config
from dispose_stages.errors import ExportError
from dispose_stages.export.samples import published_record, published_schema
from dispose_stages.export.selection import Omission, Record, read_index, select
from dispose_stages.export.settings import ExportSettings, Extra, Layout
from dispose_stages.export.shards import place_of

FORMAT_VERSION = 1
MAX_FILES = 100_000
"""Of a repository on the Hugging Face hub."""
MAX_FILES_PER_FOLDER = 10_000
"""Of such a repository."""
_FILES_BESIDE = 10
_POSE_BYTES_PER_FRAME = 2_000
_FIELD_BYTES_PER_FRAME = 2 * 2 * 192 * 192


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """Samples that lie together.

    Attributes:
        place: Path below the data set's folder.
        records: Of the index, with their ``split``.
    """

    place: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What there is to do; follows from the index and the settings alone.

    Attributes:
        settings: What was asked for.
        schema: Columns of the published records.
        shards: In order.
        omissions: Pairs left out for what the index says.
        pairs: Number of pairs of the run.
    """

    settings: ExportSettings
    config: Config
    schema: pa.Schema
    shards: tuple[PlannedShard, ...]
    omissions: tuple[Omission, ...]
    pairs: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(len(shard.records) for shard in self.shards)

    @property
    def identity(self) -> str:
        """Digest of everything that decides the bytes of the data set."""
        content: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "settings": self.settings.record(),
            "omissions": [[o.pair_id, str(o.reason), o.detail] for o in self.omissions],
            "shards": [
                [shard.place, [published_record(record) for record in shard.records]]
                for shard in self.shards
            ],
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def plan_export(run_dir: Path, settings: ExportSettings) -> ExportPlan:
    """Read a run's index and choose what goes where.

    Raises:
        StoreError: There is no such run.
        ExportError: Videos lie there that no row owns, nothing is selected, or the index or the
            settings cannot be used.
    """
    layout = RunLayout(run_dir)
    config = read_run_config(layout)
    table = read_index(layout.index)
    if strangers := stranger_videos(layout, read_pairs(layout)):
        names = ", ".join(strangers[:5])
        what = f"{len(strangers)} videos belong to no row of the run ({names})"
        raise ExportError(f"{what}; {STRANGERS_REMEDY}")
    selection = select(table, settings)
    if not selection.records:
        counts = Counter(str(omission.reason) for omission in selection.omissions)
        raise ExportError(f"no pair is left to export: {dict(counts)}")
    shards = tuple(_shards(selection.records, settings))
    _check_limits(shards, settings)
    schema = published_schema(table.schema)
    omissions = tuple(selection.omissions)
    return ExportPlan(settings, config, schema, shards, omissions, len(table))


def _shards(records: Sequence[Record], settings: ExportSettings) -> Iterator[PlannedShard]:
    names = list(settings.shares) or sorted({record["split"] for record in records})
    for split in names:
        shard: list[Record] = []
        number, size = 0, 0
        for record in (record for record in records if record["split"] == split):
            more = _estimated_bytes(record, settings)
            full = len(shard) >= settings.samples_per_shard
            if shard and (full or size + more > settings.bytes_per_shard):
                yield PlannedShard(place_of(settings.layout, split, number), tuple(shard))
                number, shard, size = number + 1, [], 0
            shard.append(record)
            size += more
        if shard:
            yield PlannedShard(place_of(settings.layout, split, number), tuple(shard))


def _estimated_bytes(record: Record, settings: ExportSettings) -> int:
    frames, pixels = record["frames"], 3 * record["height"] * record["width"]
    size: int = record["size_bytes"] + pixels + frames * _POSE_BYTES_PER_FRAME
    if Extra.FRAMES in settings.extras:
        size += frames * pixels
    if Extra.FIELD in settings.extras:
        size += frames * _FIELD_BYTES_PER_FRAME
    return size


def _check_limits(shards: Sequence[PlannedShard], settings: ExportSettings) -> None:
    """Neither the data set nor one of its folders may hold more files than the hub takes."""
    per_sample = 3 + len(settings.extras)
    if settings.layout is Layout.VIDEOFOLDER:
        total = per_sample * sum(len(shard.records) for shard in shards)
        folder = max(per_sample * len(shard.records) for shard in shards)
    else:
        total = folder = len(shards)
    if total + _FILES_BESIDE >= MAX_FILES:
        raise ExportError(
            f"the layout {settings.layout} would make {total} files, and the hub takes less than "
            f"{MAX_FILES}; use webdataset or parquet"
        )
    if folder + _FILES_BESIDE >= MAX_FILES_PER_FOLDER:
        raise ExportError(
            f"a folder would hold {folder} files, and the hub takes less than "
            f"{MAX_FILES_PER_FOLDER}; choose {'fewer' if folder != total else 'more'} samples per "
            "shard"
        )
