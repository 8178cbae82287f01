"""Files of one shard, in each layout: written under another name, hashed on the way, renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dispose_stages.atomic import commit, fsync_directory, temporary_name
from dispose_stages.export.samples import RECORD, Sample
from dispose_stages.export.selection import Record
from dispose_stages.export.settings import Layout

FileFacts = tuple[str, int]
"""SHA-256 and size of a file."""
_BLOCK = 1 << 22
_BLOCKS_AHEAD = 3
"""Written and not yet hashed."""
_FLUSH = 1 << 26
"""Bytes after which the disk is set to work, so that it does not begin when all is written."""
_ROW_GROUP_BYTES = 64_000_000
_MEDIA = {"mp4": "video", "mkv": "video", "reference.png": "reference"}


class HashedFile(io.RawIOBase):
    """A file that is written once, from its beginning, and knows its digest.

    The digest is taken, and the disk is set to work, while the next blocks are written.

    Args:
        stream: It is written to.
        hashing: One thread, for the digest.
        flushing: One thread, for the disk.
    """

    def __init__(self, stream: BinaryIO, hashing: Executor, flushing: Executor) -> None:
        super().__init__()
        self._stream = stream
        self._hashing, self._flushing = hashing, flushing
        self._digest = hashlib.sha256()
        self._size = self._flushed = 0
        self._blocks: list[bytes] = []
        self._under_way: deque[Future[None]] = deque()
        self._flush: Future[None] = flushing.submit(lambda: None)

    def write(self, data: Any) -> int:
        """Append."""
        block = data if isinstance(data, bytes) else bytes(data)  # others' memory may change
        self._stream.write(block)
        self._blocks.append(block)
        self._size += len(block)
        if sum(map(len, self._blocks)) >= _BLOCK:
            self._pass_on()
        return len(block)

    def _pass_on(self) -> None:
        self._under_way.append(self._hashing.submit(self._take_in, self._blocks))
        self._blocks = []
        if len(self._under_way) > _BLOCKS_AHEAD:
            self._under_way.popleft().result()
        if self._size - self._flushed >= _FLUSH and self._flush.done():
            self._flush.result()
            self._flushed = self._size
            self._flush = self._flushing.submit(os.fdatasync, self._stream.fileno())

    def _take_in(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            self._digest.update(block)

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes written."""
        return self._size

    def settle(self) -> None:
        """Wait for digest and disk.

        Raises:
            OSError: The disk did not take what was written; it says so once.
        """
        self._pass_on()
        while self._under_way:
            self._under_way.popleft().result()
        self._flush.result()

    @property
    def facts(self) -> FileFacts:
        """Of a whole file."""
        return self._digest.hexdigest(), self._size


@contextmanager
def hashed_file(path: Path) -> Iterator[HashedFile]:
    """A new file that gets its name once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with (
            temporary.open("wb") as stream,
            ThreadPoolExecutor(1) as hashing,
            ThreadPoolExecutor(1) as flushing,
        ):
            output = HashedFile(stream, hashing, flushing)
            yield output
            output.settle()
        commit(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def place_of(layout: Layout, split: str, number: int) -> str:
    """Path of a shard below the data set's folder."""
    match layout:
        case Layout.WEBDATASET:
            return f"data/{split}-{number:05d}.tar"
        case Layout.PARQUET:
            return f"data/{split}-{number:05d}.parquet"
        case Layout.VIDEOFOLDER:
            return f"data/{split}/{number:05d}"


def write_shard(
    layout: Layout, folder: Path, place: str, samples: Iterable[Sample], schema: pa.Schema
) -> tuple[dict[str, FileFacts], list[Record]]:
    """Write one shard; returns its files and the records of its samples.

    Args:
        place: From `place_of`.
        samples: In order.
    """
    records: list[Record] = []
    writers: Mapping[Layout, Callable[[Path, str, Iterator[Sample]], dict[str, FileFacts]]] = {
        Layout.WEBDATASET: _write_tar,
        Layout.VIDEOFOLDER: _write_folder,
        Layout.PARQUET: partial(_write_parquet, schema=schema),
    }

    def noted() -> Iterator[Sample]:
        for sample in samples:
            video = next(ending for ending in sample.files if ending in {"mp4", "mkv"})
            name = f"{place}/{sample.key}.{video}" if layout is Layout.VIDEOFOLDER else place
            sample.record["file"] = name
            records.append(sample.record)
            yield sample

    files = writers[layout](folder, place, noted())
    if not records:  # every pair has lost something since the index was written
        path = folder / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {}, []
    return files, records


def _write_tar(folder: Path, place: str, samples: Iterator[Sample]) -> dict[str, FileFacts]:
    with (
        hashed_file(folder / place) as output,
        tarfile.TarFile(None, "w", output, tarfile.PAX_FORMAT, copybufsize=_BLOCK) as tar,
    ):
        for sample in samples:
            text = json.dumps(sample.record, ensure_ascii=False, sort_keys=True, indent=1)
            members = {**sample.files, RECORD: text.encode()}
            for ending in sorted(members):
                info = tarfile.TarInfo(f"{sample.key}.{ending}")  # time 0, owner 0
                info.size = len(members[ending])
                tar.addfile(info, io.BytesIO(members[ending]))
    return {place: output.facts}


def _write_folder(folder: Path, place: str, samples: Iterator[Sample]) -> dict[str, FileFacts]:
    files = {}
    path = folder / place
    temporary = temporary_name(path)
    temporary.mkdir(parents=True)
    written: list[Path] = []
    for sample in samples:
        for ending, content in sorted(sample.files.items()):
            name = f"{sample.key}.{ending}"
            (temporary / name).write_bytes(content)
            written.append(temporary / name)
            files[f"{place}/{name}"] = (hashlib.sha256(content).hexdigest(), len(content))
    for file in written:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(path, ignore_errors=True)
    temporary.replace(path)
    fsync_directory(path.parent)
    return files


def parquet_schema(schema: pa.Schema, endings: Iterable[str]) -> pa.Schema:
    """Records with the files' contents; the Hugging Face types of media stand in the metadata."""
    media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = list(schema)
    for ending in endings:
        kind = media if ending in _MEDIA else pa.binary()
        columns.append(pa.field(parquet_column(ending), kind))
    features = {field.name: _feature(field) for field in columns}
    info = json.dumps({"info": {"features": features}})
    return pa.schema(columns, metadata={"huggingface": info})


def parquet_column(ending: str) -> str:
    """Column that holds the files of an ending."""
    return _MEDIA.get(ending, ending.partition(".")[0])


def _feature(field: pa.Field) -> dict[str, str]:
    if field.name == "video":
        return {"_type": "Video"}
    if field.name == "reference":
        return {"_type": "Image"}
    return {"dtype": str(field.type).replace("double", "float64"), "_type": "Value"}


def _write_parquet(
    folder: Path, place: str, samples: Iterator[Sample], *, schema: pa.Schema
) -> dict[str, FileFacts]:
    with ExitStack() as stack:
        output = stack.enter_context(hashed_file(folder / place))
        writer, rows, size = None, [], 0
        for sample in samples:
            if writer is None:
                whole = parquet_schema(schema, sorted(sample.files))
                writer = pq.ParquetWriter(output, whole, compression="none")
                stack.enter_context(writer)
            rows.append(_row(sample))
            size += sum(map(len, sample.files.values()))
            if size >= _ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))
                rows, size = [], 0
        if writer is not None and rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))
    return {place: output.facts}


def _row(sample: Sample) -> dict[str, Any]:
    row = dict(sample.record)
    for ending, content in sample.files.items():
        name = f"{sample.key}.{ending}"
        row[parquet_column(ending)] = (
            {"bytes": content, "path": name} if ending in _MEDIA else content
        )
    return row
