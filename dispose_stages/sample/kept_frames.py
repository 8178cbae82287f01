"""A condition of every frame of a clip, of which a tile's are asked for.

A long clip's conditions would fill a card (14 MB a frame at the published size). Beyond a fixed
amount they lie on the host, and there in a mapped file (`dispose_stages.mapped`). Rows come
back as they were, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dispose_stages.mapped import let_go, room
from dispose_stages.sample.tiles import Tile

DEVICE_BYTES = 512 << 20
"""Largest condition of a clip that stays on a card."""


class KeptFrames:
    """Rows of a clip by frame, added in order.

    Args:
        frames: How many there will be.
        keep_on: Where they lie as long as they are few.
    """

    def __init__(self, frames: int, keep_on: torch.device) -> None:
        self._frames, self._device, self._added = frames, keep_on, 0
        self._rows: Float[Tensor, "f h w c"] | None = None
        self._buffer = np.empty(0)

    def add(self, piece: Float[Tensor, "n c h w"]) -> None:
        """The next frames."""
        rows = piece.permute(0, 2, 3, 1)
        if self._rows is None:
            self._rows = self._room(rows)
        self._rows[self._added : self._added + len(rows)] = rows
        self._added += len(rows)
        let_go(self._buffer)

    def _room(self, like: Float[Tensor, "n h w c"]) -> Float[Tensor, "f h w c"]:
        shape, size = (self._frames, *like.shape[1:]), self._frames * like[0].nbytes
        if self._device.type == "cpu" or (self._device.type == "cuda" and size > DEVICE_BYTES):
            self._buffer = room((size,), np.uint8)
            return torch.from_numpy(self._buffer).view(like.dtype).view(shape)
        return torch.empty(shape, dtype=like.dtype, device=self._device)

    def gather(self, tile: Tile) -> Float[Tensor, "t c h w"]:
        """The frames of a tile on its device, channels last in memory.

        Waits for the device only where rows are not on it.

        Raises:
            ValueError: Not all frames were added.
        """
        if self._rows is None or self._added < self._frames:
            raise ValueError(f"{self._added} of {self._frames} frames were added")
        if self._rows.device == tile.index.device:
            rows = self._rows.index_select(0, tile.index)
        else:
            rows = self._rows.index_select(0, tile.frames).to(tile.index.device)
        let_go(self._buffer)
        return rows.permute(0, 3, 1, 2)
