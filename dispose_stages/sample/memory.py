"""The memory ladder: less memory for the same numbers, one rung at a time.

Every rung computes the same sampling; only the order and size of batches and where idle weights
lie differ, so results agree up to rounding (tests/sample). The VAE's chunk size is no rung:
it changes the result (golden Q13).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_FILLING_ROWS = 2 * 16 * 72 * 128
"""Latent cells in a batch beyond which a card gains nothing: the published size's one tile."""
_BYTES_PER_ROW = 1.5 * 14_464
"""Activations per latent cell in half precision: the peak that ``make bench-traffic`` counts, and
what an allocator loses between its blocks."""
_NETWORK_BYTES = 7e9
"""All networks of sampling in half precision, the autoencoder's encoder in single."""


@dataclass(frozen=True, slots=True)
class Rung:
    """How much memory sampling may take.

    Attributes:
        name: Recorded in the unit's metadata.
        tile_batch: Tiles per call of the networks.
        sequential_halves: Run the guidance halves one after the other.
        offload_idle: Keep networks on the device only while they run (within the loop ControlNet
            and UNet in turns), and of the conditions only those of the present tile.
        frame_chunk: Frames of full-resolution motion fields and pose rasters held at once.
    """

    name: str
    tile_batch: int
    sequential_halves: bool = False
    offload_idle: bool = False
    frame_chunk: int = 16


def ladder(tile_batch: int) -> list[Rung]:
    """All rungs from the configured one down."""
    rungs = [
        Rung("tile_batch", tile_batch),
        Rung("single_tile", 1),
        Rung("sequential_halves", 1, sequential_halves=True, frame_chunk=4),
        Rung("offload_idle", 1, sequential_halves=True, offload_idle=True, frame_chunk=1),
    ]
    return rungs if tile_batch > 1 else rungs[1:]


def ladder_for(
    tile_batch: int | Literal["auto"], rows: int, device: torch.device, dtype: torch.dtype
) -> list[Rung]:
    """The rungs for a setting.

    Args:
        tile_batch: As configured.
        rows: Latent cells of a tile, frames and guidance halves counted.
        dtype: Of weights and activations.
    """
    if tile_batch != "auto":
        return ladder(tile_batch)
    if device.type != "cuda":
        return ladder(1)
    total = torch.cuda.get_device_properties(device).total_memory
    return fitting_ladder(total, rows, dtype.itemsize)


def fitting_ladder(total_bytes: int, rows: int, value_bytes: int) -> list[Rung]:
    """The rungs for a card, from the first that is worth its memory and fits.

    Free memory never counts: a neighbour on the card must not change what is computed.

    Args:
        rows: Latent cells of a tile, frames and guidance halves counted.
        value_bytes: Of a weight or an activation.
    """
    widened = value_bytes / 2
    room = 0.9 * total_bytes - _NETWORK_BYTES * widened
    fitting = int(room / (_BYTES_PER_ROW * widened * rows))
    if fitting < 1:
        return ladder(1)[1:]
    return ladder(max(1, min(fitting, _FILLING_ROWS // rows)))


class Placement:
    """Where networks are: all on the device, or each only while it is used.

    Args:
        device: Where they are used.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._networks: list[nn.Module] = []
        self._offload = False

    def manage(self, networks: Iterable[nn.Module]) -> None:
        """Take charge of networks that are on the device."""
        self._networks += networks

    def settle(self, *, offload: bool) -> None:
        """Move every network to where it waits from now on."""
        if offload != self._offload:
            for network in self._networks:
                network.to("cpu" if offload else self.device)
            self._offload = offload

    @contextmanager
    def resident(self, network: nn.Module) -> Iterator[None]:
        """Keep one network on the device."""
        if not self._offload:
            yield
            return
        network.to(self.device)
        try:
            yield
        finally:
            network.to("cpu")
