"""The two draws of a pair, in the order of the original (algorithm §9, golden Q11)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

LATENT_CHANNELS = 4
LATENT_STRIDE = 8
"""Pixels per latent cell."""


Noise = tuple[Float32[Tensor, "1 3 H W"], Float32[Tensor, "t 4 h w"]]
"""Unit normal draws of one pair: added to the reference image (times the noise augmentation
strength), and the initial latents of one tile."""


def draw_noise(
    seed: int,
    *,
    height: int,
    width: int,
    tile_size: int,
    device: torch.device | str,
    source: Literal["cpu", "device"] = "cpu",
    device_dtype: torch.dtype = torch.float32,
) -> Noise:
    """Draw the image noise, then the latents of one tile, from one seeded generator.

    The image noise is drawn even where its strength is 0, because the latents come after it.

    Args:
        height: Of the target, pixels.
        tile_size: Frames per tile, as configured, even for a clip that is shorter.
        device: Where the noise is used.
        source: ``cpu`` draws the same numbers on every machine. ``device`` draws on `device`, as
            the original does on its GPU.
        device_dtype: Of the latents' draw with ``source="device"``; the original draws in the
            dtype of its networks.
    """
    place = torch.device(device if source == "device" else "cpu")
    dtype = device_dtype if source == "device" else torch.float32
    generator = torch.Generator(place).manual_seed(seed)
    image = torch.randn((1, 3, height, width), generator=generator, device=place)
    shape = (1, tile_size, LATENT_CHANNELS, height // LATENT_STRIDE, width // LATENT_STRIDE)
    latents = torch.randn(shape, generator=generator, device=place, dtype=dtype)[0]
    return image.to(device), latents.to(device, torch.float32)


def repeat_to_length(tile: Float32[Tensor, "t 4 h w"], frames: int) -> Float32[Tensor, "f 4 h w"]:
    """Continue one tile's noise periodically up to the length of the clip."""
    repeats = -(-frames // len(tile))
    return tile.repeat(repeats, 1, 1, 1)[:frames]
