"""Trees of arrays as the files of a zarr v3 group, in memory.

Written byte for byte as zarr-python does, so that any zarr reader opens the result, but without it:
its import takes a quarter of a second, its machinery ten times as long for a small array. What is
read is checked before anything is allocated, since an artifact may come from anywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from dispose_stages.errors import ArtifactCorruptError
from dispose_stages.mapped import let_go, room, row_blocks
from dispose_stages.records import parse
from dispose_stages.store.encoding import Json, Tree, check_values

CHUNK_BYTES = 4 << 20
"""A chunk holds whole leading rows up to about this size before compression."""
_CODECS = ["bytes", "blosc"]
_COMPRESSION = {"cname": "zstd", "clevel": 5}
_BLOSC_HEADER = 16  # bytes; uncompressed size at offset 4, little-endian
_UNUSABLE = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks along the first axis only; at least one element per axis."""
    if not shape:
        return ()
    row = itemsize * math.prod(shape[1:])
    rows = max(1, min(shape[0], CHUNK_BYTES // max(row, 1)))
    return (rows, *(max(1, size) for size in shape[1:]))


def to_files(tree: Tree, attributes: Mapping[str, Json], files: MutableMapping[str, bytes]) -> None:
    """Add relative name to content; `attributes` join those of the root group."""
    _write_group(files, "", tree, attributes)


def _write_group(
    files: MutableMapping[str, bytes], folder: str, tree: Tree, attributes: Mapping[str, Json]
) -> None:
    own = {**attributes, "kind": tree.kind, "values": dict(sorted(tree.values.items()))}
    head = {"attributes": dict(sorted(own.items())), "zarr_format": 3, "node_type": "group"}
    files[f"{folder}zarr.json"] = _json(head)
    for name, array in sorted(tree.arrays.items()):
        files[f"{folder}{name}/zarr.json"] = _json(_array_head(array, tree.axes.get(name)))
        _write_chunks(files, f"{folder}{name}/c", array)
    for name, child in sorted(tree.groups.items()):
        _write_group(files, f"{folder}{name}/", child, {})


def _json(head: Mapping[str, Any]) -> bytes:
    return json.dumps(head, indent=2).encode()


def _array_head(array: np.ndarray, axes: Sequence[str | None] | None) -> dict[str, Any]:
    """The metadata, in zarr-python's order of keys."""
    chunk, size = chunk_shape(array.shape, array.dtype.itemsize), array.dtype.itemsize
    order = {"configuration": {"endian": "little"}} if size > 1 else {}
    blosc = {"typesize": size, **_COMPRESSION, "shuffle": "shuffle", "blocksize": 0}
    named = {"dimension_names": list(axes)} if axes is not None else {}
    return {
        "shape": list(array.shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": array.dtype.type(0).item(),
        "codecs": [{"name": "bytes", **order}, {"name": "blosc", "configuration": blosc}],
        "attributes": {},
        **named,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _write_chunks(files: MutableMapping[str, bytes], prefix: str, array: np.ndarray) -> None:
    """Chunk by chunk; one of zero bits is left out, the last is filled up with zeros."""
    rows, *rest = chunk_shape(array.shape, array.dtype.itemsize) or (1,)
    blocks = row_blocks(np.atleast_1d(array), rows) if array.size else ()
    for index, (_, block) in enumerate(blocks):
        chunk = np.zeros((rows, *rest), array.dtype)
        chunk[: len(block)] = block
        if chunk.view(np.uint8).any():
            place = (index, *(0 for _ in rest)) if array.shape else ()
            files["/".join([prefix, *map(str, place)])] = _encoded(chunk)


def _encoded(chunk: np.ndarray) -> bytes:
    from numcodecs import blosc

    blosc.use_threads = False  # several would order the blocks of a chunk by chance
    codec = blosc.Blosc(**_COMPRESSION, shuffle=blosc.SHUFFLE, typesize=chunk.dtype.itemsize)
    return bytes(codec.encode(chunk))


def from_files(files: Mapping[str, bytes], *, max_bytes: int) -> Tree:
    """Inverse of `to_files`, without the additional attributes.

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
    if len(content) < _BLOSC_HEADER or int.from_bytes(content[4:8], "little") != size:
        raise ArtifactCorruptError(f"{name}: does not decode to {size} bytes")
    return np.frombuffer(blosc.decompress(content), dtype).reshape(chunk or (1,))
