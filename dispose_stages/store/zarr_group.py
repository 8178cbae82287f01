"""Trees of arrays as the files of a zarr v3 group, in memory.

Written for zarr-python's high-level interface, so that any zarr reader opens the result; what is
read is checked before anything is allocated, since an artifact may come from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dispose_stages.errors import ArtifactCorruptError
from dispose_stages.mapped import let_go, room, row_blocks
from dispose_stages.records import parse
from dispose_stages.store.encoding import Json, Tree, check_values

if TYPE_CHECKING:
    import zarr

CHUNK_BYTES = 4 << 20
"""A chunk holds whole leading rows up to about this size before compression."""
_CODECS = ["bytes", "blosc"]
_BLOSC_HEADER = 16  # bytes; uncompressed size at offset 4, little-endian


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks along the first axis only; at least one element per axis."""
    if not shape:
        return ()
    row = itemsize * math.prod(shape[1:])
    rows = max(1, min(shape[0], CHUNK_BYTES // max(row, 1)))
    return (rows, *(max(1, size) for size in shape[1:]))


class _Buffers(MutableMapping[str, Any]):
    """Files as zarr's buffers."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files: Any = files

    def __getitem__(self, name: str) -> Any:
        from zarr.buffer import cpu

        return cpu.Buffer.from_bytes(self._files[name])

    def __setitem__(self, name: str, buffer: Any) -> None:
        self._files[name] = buffer.to_bytes()

    def __delitem__(self, name: str) -> None:
        del self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def to_files(tree: Tree, attributes: Mapping[str, Json], files: MutableMapping[str, bytes]) -> None:
    """Add relative name to content; `attributes` join those of the root group."""
    import zarr
    from zarr.storage import MemoryStore

    store = MemoryStore(_Buffers(files))
    _write_group(zarr.create_group(store, zarr_format=3), tree, attributes)


def _write_group(group: zarr.Group, tree: Tree, attributes: Mapping[str, Json]) -> None:
    from zarr.codecs import BloscCodec

    own = {**attributes, "kind": tree.kind, "values": dict(sorted(tree.values.items()))}
    group.update_attributes(dict(sorted(own.items())))
    for name, array in sorted(tree.arrays.items()):
        chunks = chunk_shape(array.shape, array.dtype.itemsize)
        written = group.create_array(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            compressors=BloscCodec(
                typesize=array.dtype.itemsize, cname="zstd", clevel=5, shuffle="shuffle"
            ),
            fill_value=0,
            dimension_names=tree.axes.get(name),
        )
        if not chunks:
            written[...] = array
        for block, rows in row_blocks(array, chunks[0]) if chunks else ():
            written[block] = rows
    for name, child in sorted(tree.groups.items()):
        _write_group(group.create_group(name), child, {})


def from_files(files: Mapping[str, bytes], *, max_bytes: int) -> Tree:
    """Inverse of `to_files`, without the additional attributes.

    Args:
        files: Members of the archive.
        max_bytes: Limit on all arrays together after decompression.

    Raises:
        ArtifactCorruptError: Anything else than what `to_files` writes.
    """
    import zarr
    from zarr.storage import MemoryStore

    budget = max_bytes
    for name in files:
        if name.endswith("zarr.json"):
            budget -= _declared_bytes(name, _parsed(name, files[name]), files)
    if budget < 0:
        raise ArtifactCorruptError(f"the arrays would take more than {max_bytes} bytes")
    try:
        store = MemoryStore(_Buffers(files), read_only=True)
        return _read_group(zarr.open_group(store, mode="r", zarr_format=3))
    except (ValueError, TypeError, KeyError, RuntimeError, OSError, NotImplementedError) as error:
        raise ArtifactCorruptError(f"not a readable zarr group: {error}") from error


def _parsed(name: str, content: bytes) -> Any:
    try:
        return parse(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactCorruptError(f"{name}: {error}") from error


def _declared_bytes(name: str, metadata: Any, files: Mapping[str, bytes]) -> int:
    """Size of the array that a metadata file declares; its chunks must not decode to more."""
    try:
        if metadata["node_type"] == "group":
            return 0
        itemsize = np.dtype(metadata["data_type"]).itemsize
        size: int = itemsize * math.prod(int(n) for n in metadata["shape"])
        chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        chunk_size: int = itemsize * math.prod(int(n) for n in chunk)
        codecs = [codec["name"] for codec in metadata["codecs"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactCorruptError(f"{name}: {error}") from error
    too_large = bool(size) and chunk_size > max(size, CHUNK_BYTES)
    if codecs != _CODECS or size < 0 or too_large:
        raise ArtifactCorruptError(f"{name}: unexpected codecs {codecs} or chunks of {chunk_size}")
    prefix = name.removesuffix("zarr.json") + "c"
    for chunk_name in files:
        if not chunk_name.startswith(prefix):
            continue
        data = files[chunk_name]
        if len(data) < _BLOSC_HEADER or int.from_bytes(data[4:8], "little") != chunk_size:
            raise ArtifactCorruptError(f"{chunk_name}: does not decode to {chunk_size} bytes")
    return size


def _read_group(group: zarr.Group) -> Tree:
    import zarr

    attributes = check_values(dict(group.attrs))
    tree = Tree(
        kind=str(attributes.get("kind", "")), values=dict(check_values(attributes["values"]))
    )
    for name, member in sorted(group.members()):
        if isinstance(member, zarr.Group):
            tree.groups[name] = _read_group(member)
        else:
            tree.arrays[name] = _read_array(member)
    return tree


def _read_array(stored: Any) -> np.ndarray:
    """All of it, chunk by chunk."""
    if not stored.shape:
        return np.asarray(stored[...])
    array = room(stored.shape, stored.dtype)
    for start in range(0, len(array), stored.chunks[0]):
        block = slice(start, start + stored.chunks[0])
        array[block] = stored[block]
        let_go(array)
    return array


def parts_from_files(files: Mapping[str, bytes], *, max_bytes: int) -> Tree:
    """As `from_files`, for few small arrays: without zarr, whose machinery takes ten times as long.

    Raises:
        ArtifactCorruptError: Anything else than what `to_files` writes.
    """
    try:
        tree = _plain_group(files, "", max_bytes)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ArtifactCorruptError(f"not a readable zarr group: {error}") from error
    return tree


def _plain_group(files: Mapping[str, bytes], prefix: str, max_bytes: int) -> Tree:
    head = f"{prefix}zarr.json"
    attributes = check_values(_parsed(head, files[head])["attributes"])
    tree = Tree(kind=str(attributes["kind"]), values=dict(check_values(attributes["values"])))
    ending = "/zarr.json"
    inside = (name.removeprefix(prefix) for name in files if name.startswith(prefix))
    members = (name for name in inside if name.count("/") == 1 and name.endswith(ending))
    for name in sorted(member.removesuffix(ending) for member in members):
        path = f"{prefix}{name}{ending}"
        metadata = _parsed(path, files[path])
        if metadata["node_type"] == "group":
            tree.groups[name] = _plain_group(files, f"{prefix}{name}/", max_bytes)
        else:
            tree.arrays[name] = _plain_array(files, path, metadata, max_bytes)
    return tree


def _plain_array(
    files: Mapping[str, bytes], name: str, metadata: Any, max_bytes: int
) -> np.ndarray:
    """Chunks split the first axis only; an absent one is zero."""
    from numcodecs import blosc

    if _declared_bytes(name, metadata, files) > max_bytes:
        raise ArtifactCorruptError(f"{name}: would take more than {max_bytes} bytes")
    array = np.zeros(metadata["shape"], np.dtype(metadata["data_type"]).newbyteorder("<"))
    rows, *rest = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    if [max(1, size) for size in array.shape[1:]] != rest or metadata["fill_value"] != 0:
        raise ArtifactCorruptError(f"{name}: not chunked along the first axis")
    for index, start in enumerate(range(0, len(array), rows) if array.size else ()):
        chunk = "/".join([name.removesuffix("zarr.json") + "c", str(index), *("0" for _ in rest)])
        if chunk in files:
            values = np.frombuffer(blosc.decompress(files[chunk]), array.dtype)
            array[start : start + rows] = values.reshape(rows, *rest)[: len(array) - start]
    return array
