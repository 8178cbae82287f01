"""A data set as a whole: its records, what was left out, its files; and the files that say so."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dispose_stages import __version__
from dispose_stages.atomic import readable_json, write_bytes, write_text
from dispose_stages.errors import ExportError
from dispose_stages.export.selection import LeftOut, Omission, Record
from dispose_stages.export.settings import ExportSettings, Extra, Layout
from dispose_stages.export.shards import FileFacts
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.files import file_digest

FORMAT = "dispose-export"
FORMAT_VERSION = 1
EXPORT, SAMPLES, LEFT_OUT, SUMS = "export.json", "samples.parquet", "left_out.csv", "SHA256SUMS"
METADATA = "metadata.parquet"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Everything the documents of a data set say.

    Attributes:
        identity: Digest of the plan it was made from.
        bundle: Which checkpoints were used.
        settings: What was asked for.
        pairs: Number of pairs of the run.
        schema: Columns of the records.
        records: Of all samples, in order.
        omissions: What was left out.
        files: Of the samples: path below the folder to digest and size.
    """

    name: str
    identity: str
    bundle: str
    settings: ExportSettings
    pairs: int
    schema: pa.Schema
    records: list[Record]
    omissions: list[Omission]
    files: Mapping[str, FileFacts]

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have samples, in the order they were asked for."""
        named = dict.fromkeys([*self.settings.shares, *(r["split"] for r in self.records)])
        present = {record["split"] for record in self.records}
        return [split for split in named if split in present]

    def counts(self) -> dict[str, int]:
        """Number of samples, and of pairs left out per reason."""
        reasons = Counter(str(omission.reason) for omission in self.omissions)
        return {"samples": len(self.records), **dict(sorted(reasons.items()))}

    def write_tables(self, folder: Path) -> None:
        """Write the records and what was left out."""
        _write_parquet(folder / SAMPLES, pa.Table.from_pylist(self.records, schema=self.schema))
        if self.settings.layout is Layout.VIDEOFOLDER:
            for split in self.splits:
                self._write_metadata(folder / "data" / split, split)
        write_text(folder / LEFT_OUT, _omissions_csv(self.omissions))
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "identity": self.identity,
            "name": self.name,
            "bundle": self.bundle,
            "program": f"dispose-stages {__version__}",
            "settings": self.settings.record(),
            "pairs": self.pairs,
            "counts": self.counts(),
        }
        write_text(folder / EXPORT, readable_json(content))

    def _write_metadata(self, folder: Path, split: str) -> None:
        """What readers of a folder of videos look for: a record beside the files it names."""
        prefix = f"data/{split}/"
        rows = [
            {
                **record,
                "file_name": record["file"].removeprefix(prefix),
                "reference_file": f"{_stem(record)}.reference.png".removeprefix(prefix),
                "pose_file": f"{_stem(record)}.pose.npz".removeprefix(prefix),
            }
            for record in self.records
            if record["split"] == split
        ]
        added = [(name, pa.string()) for name in ("file_name", "reference_file", "pose_file")]
        columns = [*added, *((field.name, field.type) for field in self.schema)]
        table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
        _write_parquet(folder / METADATA, table.drop_columns(["file"]))

    def write_sums(self, folder: Path) -> None:
        """Write the digests of all files; of the samples' files they are known."""
        known = {name: digest for name, (digest, _) in self.files.items()}
        names = {str(path.relative_to(folder)) for path in _files(folder)} - {SUMS}
        lines = [f"{known.get(name) or file_digest(folder / name)}  {name}" for name in names]
        write_text(folder / SUMS, "".join(f"{line}\n" for line in sorted(lines, key=_path_of)))

    @classmethod
    def read(cls, folder: Path) -> DataSet:
        """A finished data set.

        Raises:
            ExportError: The folder holds none, or one of another version.
        """
        try:
            content = parse(read_bytes(folder / EXPORT))
            if (content["format"], content["version"]) != (FORMAT, FORMAT_VERSION):
                raise ExportError(f"{folder} holds a data set of another version")
            table = pq.read_table(folder / SAMPLES)
            return cls(
                name=content["name"],
                identity=content["identity"],
                bundle=content["bundle"],
                settings=_settings(content["settings"]),
                pairs=content["pairs"],
                schema=table.schema,
                records=table.to_pylist(),
                omissions=_read_omissions(folder / LEFT_OUT),
                files=_read_sums(folder),
            )
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
            if isinstance(error, ExportError):
                raise
            raise ExportError(f"{folder} holds no finished data set: {error}") from None


def _stem(record: Record) -> str:
    return str(record["file"]).rsplit(".", 1)[0]


def _path_of(line: str) -> str:
    return line.partition("  ")[2]


def _files(folder: Path) -> Iterable[Path]:
    """Files of the data set; what is under way has hidden names."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _write_parquet(path: Path, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(path, buffer.getvalue())


def _omissions_csv(omissions: Iterable[Omission]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["pair_id", "reason", "detail"])
    writer.writerows([o.pair_id, o.reason, o.detail] for o in omissions)
    return output.getvalue()


def _read_omissions(path: Path) -> list[Omission]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        return [Omission(r["pair_id"], LeftOut(r["reason"]), r["detail"]) for r in rows]


def _read_sums(folder: Path) -> dict[str, FileFacts]:
    """Facts of the samples' files that are there; a withdrawal that was killed leaves some out."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    sums = (line.split("  ", 1) for line in lines)
    return {
        name: (digest, (folder / name).stat().st_size)
        for digest, name in sums
        if name.startswith("data/")
        and not name.endswith(f"/{METADATA}")
        and (folder / name).exists()
    }


def _settings(record: Mapping[str, Any]) -> ExportSettings:
    values = dict(record)
    values["layout"] = Layout(values["layout"])
    values["extras"] = tuple(Extra(extra) for extra in values["extras"])
    values["groups"] = tuple(values["groups"])
    return ExportSettings(**values)
