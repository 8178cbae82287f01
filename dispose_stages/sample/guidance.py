"""Classifier-free guidance with a scale per frame."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor


def guidance_scales(
    lowest: float, highest: float, frames: int, *, device: torch.device | str = "cpu"
) -> Float32[Tensor, "f"]:
    """Scale of every frame, rising linearly from the reference to the last (algorithm §9)."""
    return torch.linspace(lowest, highest, frames, device=device, dtype=torch.float32)


def guide(
    prediction: Float[Tensor, "g f c h w"], scales: Float[Tensor, "f"]
) -> Float[Tensor, "f c h w"]:
    """Push the conditional prediction away from the unconditional one.

    Args:
        prediction: ``(unconditional, conditional)``, or the conditional half alone.
        scales: Per frame.
    """
    if prediction.shape[0] == 1:
        return prediction[0]
    unconditional, conditional = prediction.unbind(0)
    per_frame = scales.view(-1, 1, 1, 1)
    return unconditional + per_frame * (conditional - unconditional)
