"""Taking samples out of a data set that is already made."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dispose_stages.errors import ExportError
from dispose_stages.export.card import CARD
from dispose_stages.export.croissant import CROISSANT
from dispose_stages.export.dataset import EXPORT, LEFT_OUT, SAMPLES, SUMS, DataSet
from dispose_stages.export.documents import write_documents
from dispose_stages.export.publish import WORK
from dispose_stages.export.selection import LeftOut, Omission, Record
from dispose_stages.export.settings import Layout
from dispose_stages.export.shards import FileFacts, hashed_file


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A data set and what has to leave it.

    Attributes:
        samples: Number of samples; None for a data set that was never finished: all of it goes.
    """

    folder: Path
    samples: int | None

    def carry_out(self, digests: frozenset[str]) -> None:
        """Remove the samples and write all documents anew; `lock_of` the folder is held."""
        if self.samples is None:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        else:
            self._rewrite(digests)
        shutil.rmtree(self.folder / WORK, ignore_errors=True)

    def _rewrite(self, digests: frozenset[str]) -> None:
        dataset = DataSet.read(self.folder)
        gone = [record for record in dataset.records if _is_of(record, digests)]
        kept = [record for record in dataset.records if not _is_of(record, digests)]
        if not kept:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            for name in (EXPORT, SAMPLES, LEFT_OUT, CROISSANT, CARD, SUMS):
                (self.folder / name).unlink(missing_ok=True)
            return
        files = _without(self.folder, dataset, gone)
        omissions = [*dataset.omissions, *(Omission("", LeftOut.TAKEN_DOWN) for _ in gone)]
        left = replace(dataset, records=kept, omissions=omissions, files=files)
        for split in {record["split"] for record in gone} - set(left.splits):
            shutil.rmtree(self.folder / "data" / split, ignore_errors=True)
        write_documents(self.folder, left)


def affected(folder: Path, digests: frozenset[str]) -> Withdrawal | None:
    """What a data set holds of some sources; None if nothing, or if there is no data set."""
    if (folder / WORK).is_dir() and not (folder / SUMS).exists():
        return Withdrawal(folder, None)
    try:
        records = DataSet.read(folder).records
    except ExportError:
        return None
    count = sum(_is_of(record, digests) for record in records)
    return Withdrawal(folder, count) if count else None


def _is_of(record: Record, digests: frozenset[str]) -> bool:
    return bool(digests & {record["reference_digest"], record["driver_digest"]})


def _without(folder: Path, dataset: DataSet, gone: Iterable[Record]) -> dict[str, FileFacts]:
    """Rewrite the files that hold the samples; returns the facts of all that are left."""
    files = dict(dataset.files)
    by_place: dict[str, set[str]] = {}
    for record in gone:
        by_place.setdefault(record["file"], set()).add(record["key"])
    kept = {r["file"] for r in dataset.records if r["key"] not in by_place.get(r["file"], ())}
    for place, keys in by_place.items():
        if dataset.settings.layout is Layout.VIDEOFOLDER:
            stem = place.rsplit(".", 1)[0]
            for name in [name for name in files if name.startswith(f"{stem}.")]:
                (folder / name).unlink(missing_ok=True)
                del files[name]
        elif place not in kept or place not in files:  # lost, or removed by a try that was killed
            (folder / place).unlink(missing_ok=True)
            files.pop(place, None)
        elif dataset.settings.layout is Layout.WEBDATASET:
            files[place] = _rewrite_tar(folder / place, keys)
        else:
            files[place] = _rewrite_parquet(folder / place, keys)
    return files


def _rewrite_tar(path: Path, keys: set[str]) -> FileFacts:
    with (
        tarfile.open(path) as source,
        hashed_file(path) as output,
        tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member in source:
            if member.name.partition(".")[0] not in keys:
                tar.addfile(member, source.extractfile(member))
    return output.facts


def _rewrite_parquet(path: Path, keys: set[str]) -> FileFacts:
    with (
        pq.ParquetFile(path) as source,
        hashed_file(path) as output,
        pq.ParquetWriter(output, source.schema_arrow, compression="none") as writer,
    ):
        for number in range(source.num_row_groups):
            group = source.read_row_group(number)
            kept = group.filter(pc.invert(pc.is_in(group["key"], value_set=pa.array(sorted(keys)))))
            if len(kept):
                writer.write_table(kept)
    return output.facts
