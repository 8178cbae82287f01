"""The files of a group are those that zarr-python writes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from dispose_stages.store.encoding import Tree
from dispose_stages.store.zarr_group import chunk_shape, to_files

RANDOM = np.random.default_rng(0)


def written_by_zarr(tree: Tree, attributes: dict[str, Any]) -> dict[str, bytes]:
    store = MemoryStore()

    def write(group: zarr.Group, tree: Tree, attributes: dict[str, Any]) -> None:
        own = {**attributes, "kind": tree.kind, "values": dict(sorted(tree.values.items()))}
        group.update_attributes(dict(sorted(own.items())))
        for name, array in tree.arrays.items():
            size = array.dtype.itemsize
            codec = BloscCodec(typesize=size, cname="zstd", clevel=5, shuffle="shuffle")
            group.create_array(
                name,
                data=array,
                chunks=chunk_shape(array.shape, size),
                compressors=codec,
                fill_value=0,
                dimension_names=tree.axes.get(name),
            )
        for name, child in tree.groups.items():
            write(group.create_group(name), child, {})

    write(zarr.create_group(store, zarr_format=3), tree, attributes)
    return {name: buffer.to_bytes() for name, buffer in store._store_dict.items()}


ARRAYS = {
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 4), np.float32),
    "zeros": np.zeros((3, 2)),
    "negative_zero": np.array([-0.0, 0.0]),
    "nan": np.array([[math.nan]]),
    "truth": np.array([True, False, True]),
    "bytes": RANDOM.integers(0, 255, (7, 5, 3), np.uint8),
    "short": RANDOM.integers(-3000, 3000, (13, 2, 64, 64), np.int16),
    "half": RANDOM.normal(size=(5, 4, 8, 8)).astype(np.float16),
    "transposed": RANDOM.normal(size=(4, 6)).T,
    "chunks": RANDOM.normal(size=(700, 1000)),
    "smooth_chunks": np.linspace(0, 1, 3 << 20, dtype=np.float32).reshape(3 << 10, -1),
    "zero_chunk": np.concatenate([np.zeros((600, 1000)), np.ones((500, 1000))]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_written_as_zarr_does(name: str) -> None:
    """Metadata and chunks byte for byte: small, empty, zero, split, of every kind of number."""
    array = ARRAYS[name]
    axes = {"array": tuple("fchw"[: array.ndim])} if array.ndim > 1 else {}
    tree = Tree(kind="Latents", values={}, arrays={"array": array}, axes=axes)
    files: dict[str, bytes] = {}
    to_files(tree, {}, files)
    assert files == written_by_zarr(tree, {})


def test_groups_and_attributes_are_written_as_zarr_does() -> None:
    """Nested, with texts, lists and nothing at all."""
    inner = Tree(kind="Inner", values={"ä": "é\n"}, arrays={"a": np.arange(3)}, axes={"a": (None,)})
    tree = Tree(kind="Outer", values={"b": [1, 0.5], "a": 1e-300}, groups={"inner": inner})
    attributes = {"format": "x", "provenance": {"z": None, "a": {"b": True}}}
    files: dict[str, bytes] = {}
    to_files(tree, attributes, files)
    assert files == written_by_zarr(tree, attributes)
