"""Trees of arrays as the files of a zarr v3 group, in memory.

Written through zarr-python's high-level interface, so that any zarr reader opens the result; what
is read is checked before anything is allocated, since an artifact may come from anywhere.
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
_BLOSC_HEADER = 16  # bytes; sizes, little-endian: uncompressed at offset 4, compressed at 12
_UNUSABLE = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks along the first axis only; at least one element per axis."""
    if not shape:
        return ()
    row = itemsize * math.prod(shape[1:])
    rows = max(1, min(shape[0], CHUNK_BYTES // max(row, 1)))
    return (rows, *(max(1, size) for size in shape[1:]))


class _Buffers(MutableMapping[str, Any]):
    """Files as zarr's buffers."""

    def __init__(self, files: MutableMapping[str, bytes]) -> None:
        self._files = files

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

    Without zarr, whose machinery takes ten times as long for a small array and hands every call to
    another thread.

    Args:
        files: Members of the archive, all of them or the root and some arrays and groups; a chunk
            is asked for when its turn comes.
        max_bytes: Limit on all arrays together after decompression.

    Raises:
        ArtifactCorruptError: Anything else than what `to_files` writes.
    """
    try:
        heads = {name: parse(files[name]) for name in files if name.endswith("zarr.json")}
        if sum(map(_declared_bytes, heads.values())) > max_bytes:
            raise ArtifactCorruptError(f"the arrays would take more than {max_bytes} bytes")
        return _read_group(files, heads, "")
    except _UNUSABLE as error:
        raise ArtifactCorruptError(f"not a readable zarr group: {error}") from error


def _declared(head: Any) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...]]:
    """Type, shape and shape of a chunk, as the metadata of an array declare them."""
    dtype, shape = np.dtype(head["data_type"]).newbyteorder("<"), tuple(head["shape"])
    chunk = tuple(head["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = [codec["name"] for codec in head["codecs"]]
    if dtype.kind not in "biuf" or codecs != _CODECS or head["fill_value"] != 0:
        raise ArtifactCorruptError(f"an array of {dtype} with codecs {codecs}")
    counts = all(type(size) is int and size >= 0 for size in shape + chunk)
    split = chunk[1:] == tuple(max(1, size) for size in shape[1:]) and 0 not in chunk
    if not counts or len(chunk) != len(shape) or not split:
        raise ArtifactCorruptError(f"an array of shape {shape} in chunks of {chunk}")
    return dtype, shape, chunk


def _declared_bytes(head: Any) -> int:
    """Of an array after decompression; a chunk of it must not take more."""
    if head["node_type"] == "group":
        return 0
    dtype, shape, chunk = _declared(head)
    size, chunk_size = (dtype.itemsize * math.prod(each) for each in (shape, chunk))
    if size and chunk_size > max(size, CHUNK_BYTES):
        raise ArtifactCorruptError(f"chunks of {chunk_size} bytes")
    return size


def _read_group(files: Mapping[str, bytes], heads: Mapping[str, Any], folder: str) -> Tree:
    attributes = check_values(heads[f"{folder}zarr.json"]["attributes"])
    tree = Tree(kind=str(attributes["kind"]), values=dict(check_values(attributes["values"])))
    inside = (path.removeprefix(folder) for path in heads if path.startswith(folder))
    for name in sorted(path.split("/")[0] for path in inside if path.count("/") == 1):
        head = heads[f"{folder}{name}/zarr.json"]
        if head["node_type"] == "group":
            tree.groups[name] = _read_group(files, heads, f"{folder}{name}/")
        else:
            tree.arrays[name] = _read_array(files, f"{folder}{name}/c", head)
    return tree


def _read_array(files: Mapping[str, bytes], prefix: str, head: Any) -> np.ndarray:
    """Chunk by chunk; one that is absent is zero."""
    dtype, shape, chunk = _declared(head)
    rows, *rest = chunk or (1,)
    array = room(shape or (1,), dtype)
    for index, start in enumerate(range(0, len(array), rows) if array.size else ()):
        place = (index, *(0 for _ in rest)) if shape else ()
        name = "/".join([prefix, *map(str, place)])
        block = array[start : start + rows]
        block[...] = _decoded(name, files[name], dtype, chunk)[: len(block)] if name in files else 0
        let_go(array)
    return array.reshape(shape)


def _decoded(name: str, content: bytes, dtype: np.dtype[Any], chunk: tuple[int, ...]) -> np.ndarray:
    """A chunk, unless it would unfold to another size."""
    from numcodecs import blosc

    size = dtype.itemsize * math.prod(chunk)
    sizes = [int.from_bytes(content[start : start + 4], "little") for start in (4, 12)]
    # The library believes both, and reads beyond a chunk that says it is longer.
    if len(content) < _BLOSC_HEADER or sizes != [size, len(content)]:
        raise ArtifactCorruptError(f"{name}: does not decode to {size} bytes")
    return np.frombuffer(blosc.decompress(content), dtype).reshape(chunk or (1,))
