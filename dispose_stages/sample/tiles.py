"""How the predictions of overlapping tiles are blended (algorithm §9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor


def tile_weights(size: int, *, device: torch.device | str = "cpu") -> Float32[Tensor, "t"]:
    """Weight of each position in a tile: a tent that is 1 in the middle (algorithm §9)."""
    rising = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) * 2.0 / size
    return torch.minimum(rising, 2.0 - rising)


@dataclass(frozen=True, slots=True)
class Tile:
    """Frames of one tile.

    Attributes:
        frames: On the host.
        index: The same on the device, so that nothing in the loop waits for it.
    """

    frames: Int64[Tensor, "t"]
    index: Int64[Tensor, "t"]

    @classmethod
    def of(cls, frames: Sequence[int], device: torch.device | str) -> Tile:
        """From numbers."""
        host = torch.tensor(frames)
        return cls(host, host.to(device))


class TileBlender:
    """Weighted mean of overlapping predictions, accumulated in float32 on the device.

    Args:
        tiles: Frames of every tile; all tiles of one length.
        frames: Length of the clip.
        device: Where predictions arrive.

    Attributes:
        tiles: As given.
    """

    def __init__(
        self, tiles: Sequence[Sequence[int]], frames: int, *, device: torch.device | str
    ) -> None:
        self.tiles = [Tile.of(tile, device) for tile in tiles]
        weights = tile_weights(len(tiles[0]), device=device)
        self._weights = weights[:, None, None, None]
        total = torch.zeros(frames, device=device)
        for tile in self.tiles:
            total.index_add_(0, tile.index, weights)
        self._total = total[:, None, None, None]

    def blend(
        self, predictions: Iterable[Float32[Tensor, "g t c h w"]]
    ) -> Float32[Tensor, "g f c h w"]:
        """One prediction per frame and guidance half from one per tile, in the tiles' order.

        Each is added as it comes, so that not all need be there at once.
        """
        total = None
        for tile, prediction in zip(self.tiles, predictions, strict=True):
            if total is None:
                halves, _, *rest = prediction.shape
                shape = (halves, len(self._total), *rest)
                total = prediction.new_zeros(shape, dtype=torch.float32)
            total.index_add_(1, tile.index, prediction.float() * self._weights)
        if total is None:
            raise ValueError("no prediction to blend")
        return total / self._total
