"""Large arrays in nameless files, mapped into memory, of which only what is in use is resident.

What grows with the length of a clip would fill a job's memory. The operating system keeps a mapped
file's pages as long as nothing else needs the room; they lie in ``TMPDIR``.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

LARGE_BYTES = 16 << 20
"""Arrays beyond this are mapped."""


def room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array to be filled; it goes with the last view of it.

    Raises:
        OSError: There is no room for the file.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= LARGE_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="dispose-") as file:
        return np.memmap(file, dtype, mode="w+", shape=shape)


def let_go(array: np.ndarray) -> None:
    """Have no page of a mapped array resident; the next access brings it back."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)


def row_blocks(array: np.ndarray, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Successive rows, so many at a time; what was looked at is let go."""
    for start in range(0, len(array), rows):
        block = slice(start, min(start + rows, len(array)))
        yield block, array[block]
        let_go(array)
