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
from dispose_stages.sample.shortcuts import StepKind


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
        self._rung, self._dtype = rung, dtype
        self._control_scale = control_scale
        self._conditional = int(guided)
        self._left: dict[tuple[tuple[int, ...], int], Sequence[Tensor]] = {}
        # A network that comes and goes does not stay where a recording expects it.
        self._recorder = Recorder(None if rung.offload_idle else capture)

    def __call__(
        self,
        noisy: Float32[Tensor, "f 4 h w"],
        timestep: Float32[Tensor, ""],
        tiles: Sequence[Tensor],
        kind: StepKind,
    ) -> list[Float[Tensor, "g t 4 h w"]]:
        """Run all tiles of one step."""
        times = [self._unet.embed_time(timestep)]
        if self._control_net is not None and kind.whole:
            times.append(self._control_net.embed_time(timestep))
        predictions: list[Tensor] = []
        for first in range(0, len(tiles), self._rung.tile_batch):
            batch = tiles[first : first + self._rung.tile_batch]
            frames = torch.stack([noisy.index_select(0, tile) for tile in batch])
            parts = [
                self._call(halves, first, kind, (frames, *times, *batch))
                for halves in self._calls(kind)
            ]
            predictions += torch.cat(parts, dim=1).unbind(0)
        return predictions

    def _calls(self, kind: StepKind) -> list[tuple[int, ...]]:
        """The guidance halves of every call on a batch of tiles."""
        halves = (0, 1) if self._conditional and kind.guided else (self._conditional,)
        return [(half,) for half in halves] if self._rung.sequential_halves else [halves]

    def _call(
        self, halves: tuple[int, ...], first: int, kind: StepKind, inputs: tuple[Tensor, ...]
    ) -> Float[Tensor, "k g t 4 h w"]:
        """One call, on the batch that begins with the given tile."""
        key = (halves, len(inputs[0]), kind)
        if not kind.whole:
            left = [value.to(inputs[0].device) for value in self._left[halves, first]]
            return self._recorder(key, partial(self._run_outermost, halves), *inputs, *left)[0]
        run = partial(self._run, halves, leave=kind.leaves)
        prediction, *left = self._recorder(key, run, *inputs)
        keep_on = "cpu" if self._rung.offload_idle else prediction.device
        self._left[halves, first] = [value.to(keep_on) for value in left]
        return prediction

    def _run(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        time: Tensor,
        *rest: Tensor,
        leave: bool,
    ) -> tuple[Tensor, ...]:
        """The given halves of a batch of tiles.

        Args:
            noisy: Latents of every tile.
            rest: Time of the ControlNet where it is run, then the tiles' frames.
            leave: Also return what `_run_outermost` needs.
        """
        tiles = rest[-len(noisy) :]
        latents, pose, batch = self._inputs(halves, noisy, tiles)
        residuals = None
        if self._control_net is not None:
            control = _control_conditions(self._conditions, tiles, len(halves))
            residuals = self._control_net(
                latents, rest[0], batch, scale=self._control_scale, **control
            )
        output = self._unet(latents, time, batch, pose_latents=pose, control=residuals, leave=leave)
        flat, *left = output if leave else (output,)
        return _by_tile(flat, len(tiles)), *left

    def _run_outermost(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        time: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        """The outermost level alone; `rest` is the tiles' frames and what a whole step left."""
        tiles, left = rest[: len(noisy)], rest[len(noisy) :]
        latents, pose, batch = self._inputs(halves, noisy, tiles)
        flat = self._unet(latents, time, batch, pose_latents=pose, left=left)
        return (_by_tile(flat, len(tiles)),)

    def _inputs(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        tiles: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, GuidanceBatch]:
        """Latents and pose features of every tile and half, and what these stand for."""
        conditional = [half == self._conditional for half in halves]
        latents = _with_image(noisy, self._conditions.image, conditional).to(self._dtype)
        pose = _per_half(self._conditions.pose, tiles, conditional)
        return latents, pose, GuidanceBatch.tiles(len(tiles), halves)


def _by_tile(flat: Float[Tensor, "kg t c h w"], count: int) -> Float[Tensor, "k g t c h w"]:
    return flat.reshape(count, -1, *flat.shape[1:])


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
