"""Conditions of long clips."""

from __future__ import annotations

import pytest
import torch

from dispose_stages import mapped
from dispose_stages.sample.kept_frames import KeptFrames
from dispose_stages.sample.tiles import Tile
from tests.sample.test_clip import sample

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_rows_come_back_bit_for_bit(monkeypatch, dtype, limit) -> None:
    """Whatever the type, in memory or in a file; channels last in memory."""
    monkeypatch.setattr(mapped, "LARGE_BYTES", limit)
    values = torch.randn(7, 5, 3, 2).to(dtype)
    kept = KeptFrames(7, CPU)
    for first in range(0, 7, 3):
        kept.add(values[first : first + 3])
    tile = Tile.of([0, 4, 5, 2], CPU)
    found = kept.gather(tile)
    assert torch.equal(found, values[tile.index])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_clip_that_is_not_whole_is_not_read() -> None:
    """Rows that were never written would be zeros."""
    kept = KeptFrames(3, CPU)
    kept.add(torch.ones(2, 1, 1, 1))
    with pytest.raises(ValueError, match="2 of 3 frames"):
        kept.gather(Tile.of([0], CPU))


def test_a_clip_whose_conditions_are_mapped_has_the_same_bits(monkeypatch) -> None:
    """All of them in files: the same latents."""
    with torch.no_grad():
        plain = sample()
        monkeypatch.setattr(mapped, "LARGE_BYTES", 1)
        assert torch.equal(sample(), plain)
