"""How the predictions of overlapping tiles are blended (algorithm §9)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor


def tile_weights(size: int, *, device: torch.device | str = "cpu") -> Float32[Tensor, "t"]:
    """Weight of each position in a tile: a tent that is 1 in the middle (algorithm §9)."""
    rising = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) * 2.0 / size
    return torch.minimum(rising, 2.0 - rising)


class TileBlender:
    """Weighted mean of overlapping predictions, accumulated in float32 on the device.

    Args:
        tiles: Frames of every tile; all tiles of one length.
        frames: Length of the clip.
        device: Where predictions arrive.
    """

    def __init__(
        self, tiles: Sequence[Sequence[int]], frames: int, *, device: torch.device | str
    ) -> None:
        self.indices = [torch.tensor(tile, device=device) for tile in tiles]
        self._weights = tile_weights(len(tiles[0]), device=device)[:, None, None, None]
        total = torch.zeros(frames, device=device)
        for index in self.indices:
            total.index_add_(0, index, self._weights.flatten())
        self._total = total[:, None, None, None]

    def blend(
        self, predictions: Sequence[Float32[Tensor, "g t c h w"]]
    ) -> Float32[Tensor, "g f c h w"]:
        """One prediction per frame and guidance half from one per tile, in the tiles' order."""
        halves, _, *rest = predictions[0].shape
        total = predictions[0].new_zeros((halves, len(self._total), *rest), dtype=torch.float32)
        for index, prediction in zip(self.indices, predictions, strict=True):
            total.index_add_(1, index, prediction.float() * self._weights)
        return total / self._total
