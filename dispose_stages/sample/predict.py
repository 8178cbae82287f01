"""Predictions of the networks for the tiles of a clip, with both guidance halves.

Batch elements are ordered tile by tile, within a tile the unconditional half first, as
`dispose_stages.models.context.GuidanceBatch` names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.models.context import GuidanceBatch
from dispose_stages.sample.binding import BoundNetwork
from dispose_stages.sample.conditions import ClipConditions
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.recording import Capture, Recorder


class Predictor:
    """The `Predict` of the denoising loop.

    Args:
        unet: Bound to the clip.
        control_net: The same; None where `ClipConditions.controlled` is false.
        guided: Run the unconditional half too.
        control_scale: Factor on the ControlNet's residuals.
        rung: Says how many tiles go into one call, and whether both halves do.
        dtype: Of weights and activations.
        capture: How calls of the networks are recorded; None: not at all.
    """

    def __init__(
        self,
        conditions: ClipConditions,
        unet: BoundNetwork,
        control_net: BoundNetwork | None,
        *,
        guided: bool,
        control_scale: float = 1.0,
        rung: Rung,
        dtype: torch.dtype,
        capture: Capture | None = None,
    ) -> None:
        self._conditions, self._unet, self._control_net = conditions, unet, control_net
        self._tile_batch, self._dtype = rung.tile_batch, dtype
        self._control_scale = control_scale
        self._conditional = int(guided)
        # A network that comes and goes does not stay where a recording expects it.
        self._recorder = Recorder(None if rung.offload_idle else capture)
        halves = (0, 1) if guided else (0,)
        self._calls = [(half,) for half in halves] if rung.sequential_halves else [halves]

    def __call__(
        self,
        noisy: Float32[Tensor, "f 4 h w"],
        timestep: Float32[Tensor, ""],
        tiles: Sequence[Tensor],
    ) -> list[Float[Tensor, "g t 4 h w"]]:
        """Run all tiles of one step."""
        time = self._unet.embed_time(timestep)
        control_time = self._control_net.embed_time(timestep) if self._control_net else None
        predictions: list[Tensor] = []
        for first in range(0, len(tiles), self._tile_batch):
            batch = tiles[first : first + self._tile_batch]
            frames = torch.stack([noisy.index_select(0, tile) for tile in batch])
            inputs = (frames, time, control_time, *batch)
            parts = [
                self._recorder((call, len(batch)), partial(self._run, call), *inputs)
                for call in self._calls
            ]
            predictions += torch.cat(parts, dim=1).unbind(0)
        return predictions

    def _run(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        time: Tensor,
        control_time: Tensor | None,
        *tiles: Tensor,
    ) -> Float[Tensor, "k g t 4 h w"]:
        """The given guidance halves of a batch of tiles."""
        conditional = [half == self._conditional for half in halves]
        batch = GuidanceBatch.tiles(len(tiles), halves)
        latents = _with_image(noisy, self._conditions.image, conditional).to(self._dtype)
        residuals = None
        if self._control_net is not None and control_time is not None:
            control = _control_conditions(self._conditions, tiles, len(halves))
            residuals = self._control_net(
                latents, control_time, batch, scale=self._control_scale, **control
            )
        pose = _per_half(self._conditions.pose, tiles, conditional)
        flat: Tensor = self._unet(latents, time, batch, pose_latents=pose, control=residuals)
        return flat.reshape(len(tiles), -1, *flat.shape[1:])


def _gather(value: Float[Tensor, "f c h w"], tile: Tensor) -> Float[Tensor, "t c h w"]:
    """The frames of a tile, channels last in memory, on the tile's device.

    Waits for the device if `value` is on the host.
    """
    rows = value.permute(0, 2, 3, 1).index_select(0, tile.to(value.device))
    return rows.to(tile.device).permute(0, 3, 1, 2)


def _per_half(
    value: Float[Tensor, "f c h w"], tiles: Sequence[Tensor], conditional: Sequence[bool]
) -> Float[Tensor, "kg t c h w"]:
    """The frames of every tile and half, zeros where a half is unconditional."""
    parts: list[Tensor] = []
    for tile in tiles:
        frames = _gather(value, tile)
        parts += [frames if sees else torch.zeros_like(frames) for sees in conditional]
    joined = torch.cat(parts)
    return joined.reshape(len(parts), -1, *joined.shape[1:])


def _shared(
    value: Float[Tensor, "f c h w"], tiles: Sequence[Tensor], halves: int
) -> Float[Tensor, "#kg t c h w"]:
    """The frames of every tile, alike for all halves; one tile is left to broadcasting."""
    if len(tiles) == 1:
        return _gather(value, tiles[0])[None]
    return _per_half(value, tiles, [True] * halves)


def _with_image(
    noisy: Float32[Tensor, "k t 4 h w"],
    image: Float32[Tensor, "4 h w"],
    conditional: Sequence[bool],
) -> Float32[Tensor, "kg t 8 h w"]:
    """Noisy latents of every half, and the reference's latent beside them on channels."""
    repeated = image.expand(*noisy.shape[:2], -1, -1, -1)
    parts = [
        torch.cat([noisy, repeated if sees else torch.zeros_like(noisy)], dim=2)
        for sees in conditional
    ]
    return torch.stack(parts, dim=1).flatten(0, 1)


def _control_conditions(
    conditions: ClipConditions, tiles: Sequence[Tensor], halves: int
) -> dict[str, Any]:
    """The ControlNet's own conditions; they are the same for both halves."""
    motion, points = conditions.motion, conditions.points
    if motion is not None:
        added = _shared(motion, tiles, halves)
    else:  # adding zeros leaves the embedding out; pose features have its shape
        frame = conditions.pose.shape[1:]
        added = conditions.pose.new_zeros(1, len(tiles[0]), *frame, device=tiles[0].device)
    return {
        "motion": added,
        "point_levels": None
        if points is None
        else tuple(_shared(level, tiles, halves) for level in points),
    }
