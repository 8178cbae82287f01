"""Arrays in mapped files."""

from __future__ import annotations

import numpy as np
import pytest

from dispose_stages import mapped
from dispose_stages.artifacts import Latents
from dispose_stages.mapped import let_go, room, row_blocks
from dispose_stages.store.artifacts import ArtifactStore


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as stream:  # noqa: PTH123 - no ordinary file
        return int(stream.read().split()[1]) * 4096


def test_what_is_let_go_is_not_resident_and_not_lost() -> None:
    """Writing and reading 128 MiB by rows takes the memory of a few rows."""
    before, peak = resident(), 0
    array = room((128, 1 << 20), np.uint8)
    for row in range(len(array)):
        array[row] = row
        let_go(array)
        peak = max(peak, resident() - before)
    for block, rows in row_blocks(array, 4):
        assert (rows == np.arange(block.start, block.stop)[:, None]).all()
        peak = max(peak, resident() - before)
    assert peak < 48 << 20


def test_a_small_array_is_an_ordinary_one() -> None:
    """No file is opened for what hardly counts; letting it go does nothing."""
    array = room((4, 4), np.float32)
    array[:] = 1
    let_go(array)
    assert not isinstance(array, np.memmap)
    assert (array == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_large_artifacts_have_the_bytes_of_small_ones(tmp_path, monkeypatch, dtype) -> None:
    """Whether arrays are mapped or not: the same file, the same digest, the same content."""
    latents = Latents(np.random.default_rng(0).normal(size=(90, 4, 64, 48)).astype(dtype))
    files = []
    for limit in (1 << 40, 1 << 10):
        monkeypatch.setattr(mapped, "LARGE_BYTES", limit)
        array = room(latents.latents.shape, dtype)
        array[:] = latents.latents
        store = ArtifactStore(tmp_path / str(limit))
        digest = store.write("sample", "0f" * 8, Latents(array))
        assert isinstance(array, np.memmap) == (limit < 1 << 20)
        back = store.read("sample", "0f" * 8, Latents).latents
        np.testing.assert_array_equal(back, latents.latents)
        files.append((digest, store.path("sample", "0f" * 8).read_bytes()))
    assert files[0] == files[1]
