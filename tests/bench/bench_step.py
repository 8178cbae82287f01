"""A tile-step at a third of the published width on a CPU, beside plain diffusers blocks.

``python -m pytest tests/bench/bench_step.py -m bench -s``
"""

from __future__ import annotations

import pytest
import torch

from tests.bench.gpu.parts import seconds
from tests.bench.size import size
from tests.bench.traffic.steps import SMALL, Size, TileStep

# 128 x 64 pixels, 4 frames, a third of the width: what two cores and 2 GB do in a second.
STEP = size(Size((96, 192, 384, 384), (3, 6, 12, 12), height=128, width=64, frames=4), SMALL)


@pytest.mark.bench
def test_tile_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints milliseconds of both, interleaved, and their ratio; the predictions agree."""
    device = torch.device("cpu")
    with torch.inference_mode():
        tile = TileStep(STEP, device, torch.float32)
        original, ours = tile.original(), tile.ours(compat="corrected")
        expected, actual = original(), ours()
        times = [(seconds(original, device), seconds(ours, device)) for _ in range(size(5, 1))]
    plain, own = (min(column) for column in zip(*times, strict=True))
    with capsys.disabled():
        print(f"\noriginal {1e3 * plain:.0f} ms, ours {1e3 * own:.0f} ms: {plain / own:.2f} times")  # noqa: T201
    assert (actual - expected).norm() <= 1e-4 * expected.norm()
