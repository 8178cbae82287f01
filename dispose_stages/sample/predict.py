"""Predictions of the networks for the tiles of a clip, with both guidance halves.

Batch elements are ordered tile by tile, within a tile the unconditional half first, as
`dispose_stages.models.context.GuidanceBatch` names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from dispose_stages.sample.tiles import Tile


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
        kept = (conditions.pose, conditions.motion, *(conditions.points or ()))
        self._kept = [frames for frames in kept if frames is not None]
        self._conditional = int(guided)
        self._left: dict[tuple[tuple[int, ...], int], Sequence[Tensor]] = {}
        # A network that comes and goes does not stay where a recording expects it.
        self._recorder = Recorder(None if rung.offload_idle else capture)

    def __call__(
        self,
        noisy: Float32[Tensor, "f 4 h w"],
        timestep: Float32[Tensor, ""],
        tiles: Sequence[Tile],
        kind: StepKind,
    ) -> Iterator[Float[Tensor, "g t 4 h w"]]:
        """Run all tiles of one step, a batch when its first prediction is asked for."""
        times = [self._unet.embed_time(timestep)]
        if self._control_net is not None and kind.whole:
            times.append(self._control_net.embed_time(timestep))
        read = self._kept if kind.whole else self._kept[:1]
        for first in range(0, len(tiles), self._rung.tile_batch):
            batch = tiles[first : first + self._rung.tile_batch]
            frames = torch.stack([noisy.index_select(0, tile.index) for tile in batch])
            conditions = [kept.gather(tile) for kept in read for tile in batch]
            parts = [
                self._call(halves, first, kind, (frames, *times, *conditions))
                for halves in self._calls(kind)
            ]
            yield from torch.cat(parts, dim=1).unbind(0)

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
            rest: Time of the ControlNet where it is run, then conditions, each of all tiles.
            leave: Also return what `_run_outermost` needs.
        """
        tiles = len(noisy)
        of_tiles = _batches(rest[-len(self._kept) * tiles :], tiles)
        latents, pose, batch = self._inputs(halves, noisy, of_tiles[0])
        residuals: Sequence[Tensor] = ()
        if self._control_net is not None:
            control = self._control_conditions(of_tiles, len(halves))
            residuals = self._control_net(
                latents, rest[0], batch, scale=self._control_scale, **control
            )
        output = self._unet(latents, time, batch, pose_latents=pose, control=residuals, leave=leave)
        flat, *left = output if leave else (output,)
        return _by_tile(flat, tiles), *left

    def _run_outermost(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        time: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        """The outermost level alone; `rest` is the poses and what a whole step left."""
        poses, left = rest[: len(noisy)], rest[len(noisy) :]
        latents, pose, batch = self._inputs(halves, noisy, poses)
        flat = self._unet(latents, time, batch, pose_latents=pose, left=left)
        return (_by_tile(flat, len(noisy)),)

    def _inputs(
        self,
        halves: tuple[int, ...],
        noisy: Float32[Tensor, "k t 4 h w"],
        poses: Sequence[Float[Tensor, "t c h w"]],
    ) -> tuple[Tensor, Tensor, GuidanceBatch]:
        """Latents and pose features of every tile and half, and what these stand for."""
        conditional = [half == self._conditional for half in halves]
        latents = _with_image(noisy, self._conditions.image, conditional).to(self._dtype)
        pose = _per_half(poses, conditional)
        return latents, pose, GuidanceBatch.tiles(len(noisy), halves)

    def _control_conditions(
        self, of_tiles: Sequence[Sequence[Tensor]], halves: int
    ) -> dict[str, Any]:
        """The ControlNet's own conditions; they are the same for both halves."""
        pose, *others = of_tiles
        if self._conditions.motion is not None:
            added = _shared(others.pop(0), halves)
        else:  # adding zeros leaves the embedding out; pose features have its shape
            added = torch.zeros_like(pose[0])[None]
        points = tuple(_shared(level, halves) for level in others)
        return {"motion": added, "point_levels": points or None}


def _by_tile(flat: Float[Tensor, "kg t c h w"], count: int) -> Float[Tensor, "k g t c h w"]:
    return flat.reshape(count, -1, *flat.shape[1:])


def _batches(values: Sequence[Tensor], size: int) -> list[Sequence[Tensor]]:
    return [values[at : at + size] for at in range(0, len(values), size)]


def _per_half(
    tiles: Sequence[Float[Tensor, "t c h w"]], conditional: Sequence[bool]
) -> Float[Tensor, "kg t c h w"]:
    """The frames of every tile and half, zeros where a half is unconditional."""
    parts = [
        frames if sees else torch.zeros_like(frames) for frames in tiles for sees in conditional
    ]
    return torch.cat(parts).reshape(len(parts), -1, *parts[0].shape[1:])


def _shared(tiles: Sequence[Float[Tensor, "t c h w"]], halves: int) -> Float[Tensor, "#kg t c h w"]:
    """The frames of every tile, alike for all halves; one tile is left to broadcasting."""
    return tiles[0][None] if len(tiles) == 1 else _per_half(tiles, [True] * halves)


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
