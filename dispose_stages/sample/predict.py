"""One prediction of the networks for a batch of tiles, with both guidance halves.

Batch elements are ordered tile by tile, within a tile the unconditional half first, as the
constants of the cross-attention expect them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.sample.binding import BoundNetwork
from dispose_stages.sample.conditions import ClipConditions
from dispose_stages.sample.denoise import Predict

BOTH = None
"""In place of the index of one guidance half."""


@dataclass(frozen=True, slots=True)
class _Halves:
    """What a call of the networks holds of the guidance halves.

    Attributes:
        index: `BOTH` or which one.
        conditional: Per half in the batch, whether it sees the conditions.
    """

    index: int | None
    conditional: tuple[bool, ...]


def _plan_halves(*, guided: bool, sequential: bool) -> list[_Halves]:
    if not guided:
        return [_Halves(0, (True,))]
    if sequential:
        return [_Halves(0, (False,)), _Halves(1, (True,))]
    return [_Halves(BOTH, (False, True))]


def _per_half(value: Float[Tensor, "k ..."], conditional: Sequence[bool]) -> Tensor:
    """``(k, ...)`` to ``(k g, ...)``, zeros where a half is unconditional."""
    parts = [value if sees else torch.zeros_like(value) for sees in conditional]
    return torch.stack(parts, dim=1).flatten(0, 1)


def _shared(value: Float[Tensor, "k ..."], halves: int) -> Tensor:
    """``(k, ...)`` to ``(k g, ...)``, alike for all halves; one tile is left to broadcasting."""
    return value if len(value) == 1 or halves == 1 else value.repeat_interleave(halves, 0)


def _gather(value: Float[Tensor, "f ..."], tiles: Sequence[Tensor]) -> Float[Tensor, "k t ..."]:
    """The frames of every tile, on the tiles' device; waits for it if `value` is on the host."""
    frames = [value.index_select(0, tile.to(value.device)) for tile in tiles]
    return torch.stack(frames).to(tiles[0].device)


def make_predictor(
    conditions: ClipConditions,
    unet: BoundNetwork,
    control_net: BoundNetwork | None,
    *,
    guided: bool,
    sequential_halves: bool,
    dtype: torch.dtype,
) -> Callable[[Tensor], Predict]:
    """The `predict_at` of the denoising loop.

    Args:
        conditions: Of the clip.
        unet: Bound to the clip.
        control_net: Likewise; None where `ClipConditions.controlled` is false.
        guided: Run the unconditional half too.
        sequential_halves: Run the halves one after the other: half the activations in memory.
        dtype: Of the networks.
    """
    plan = _plan_halves(guided=guided, sequential=sequential_halves)

    def predict_at(timestep: Tensor) -> Predict:
        time = unet.embed_time(timestep)
        control_time = control_net.embed_time(timestep) if control_net else None

        def predict(noisy: Float32[Tensor, "k t 4 h w"], tiles: Sequence[Tensor]) -> Tensor:
            predictions = []
            for halves in plan:
                latents = _with_image(noisy, conditions.image, halves).to(dtype)
                residuals = None
                if control_net is not None and control_time is not None:
                    control = _control_conditions(conditions, tiles, halves)
                    residuals = control_net(
                        latents, control_time, len(tiles), halves.index, **control
                    )
                pose = _per_half(_gather(conditions.pose, tiles), halves.conditional)
                flat = unet(
                    latents, time, len(tiles), halves.index, pose_latents=pose, control=residuals
                )
                predictions.append(flat.reshape(len(tiles), -1, *flat.shape[1:]))
            return torch.cat(predictions, dim=1)

        return predict

    return predict_at


def _with_image(
    noisy: Float32[Tensor, "k t 4 h w"], image: Float32[Tensor, "4 h w"], halves: _Halves
) -> Float32[Tensor, "kg t 8 h w"]:
    """Noisy latents of every half, and the reference's latent beside them on channels."""
    repeated = image.expand(*noisy.shape[:2], -1, -1, -1)
    parts = [
        torch.cat([noisy, repeated if sees else torch.zeros_like(noisy)], dim=2)
        for sees in halves.conditional
    ]
    return torch.stack(parts, dim=1).flatten(0, 1)


def _control_conditions(
    conditions: ClipConditions, tiles: Sequence[Tensor], halves: _Halves
) -> dict[str, Any]:
    """The ControlNet's own conditions; they are the same for both halves."""
    count = len(halves.conditional)
    motion, points = conditions.motion, conditions.points
    if motion is not None:
        added = _shared(_gather(motion, tiles), count)
    else:  # adding zeros leaves the embedding out; pose features have its shape
        frame = conditions.pose.shape[1:]
        added = conditions.pose.new_zeros(1, len(tiles[0]), *frame, device=tiles[0].device)
    return {
        "motion": added,
        "point_levels": None
        if points is None
        else tuple(_shared(_gather(level, tiles), count) for level in points),
    }
