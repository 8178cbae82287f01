"""Small layers that all diffusion networks share; attribute names are diffusers'."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.models import fused

_LONGEST_PERIOD = 10_000


def sinusoids(values: Float[Tensor, "n"], channels: int) -> Float[Tensor, "n c"]:
    """Cosines, then sines of every value at geometrically falling frequencies, in float32."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device)
    frequencies = torch.exp(-math.log(_LONGEST_PERIOD) * steps / half)
    angles = values[:, None].float() * frequencies
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers with SiLU between them."""

    def __init__(self, channels: int, width: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, out_channels or width)

    def forward(self, sines: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:
        """Embed `sinusoids`."""
        output: Tensor = self.linear_2(F.silu(self.linear_1(sines)))
        return output


def add_linear(
    residual: Float[Tensor, "*n w"], layer: nn.Module, hidden: Float[Tensor, "*n d"]
) -> Float[Tensor, "*n w"]:
    """A residual plus a linear layer with bias."""
    weight, bias = cast("tuple[Tensor, Tensor]", (layer.weight, layer.bias))
    if fused.adds(hidden, weight):
        return fused.linear_add(hidden, weight, bias, residual)
    output: Tensor = residual + layer(hidden)
    return output


class _GatedProjection(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * width)

    def forward(self, hidden: Float[Tensor, "*n c"]) -> Float[Tensor, "*n w"]:
        if fused.gates(hidden):
            return fused.gated_linear(hidden, self.proj.weight, self.proj.bias)
        projected = self.proj(hidden)
        if fused.applies(projected):
            return fused.gated_gelu(projected)
        value, gate = projected.chunk(2, dim=-1)
        if torch.is_grad_enabled():
            gated: Tensor = value * F.gelu(gate)
        else:
            gated = F.gelu(gate).mul_(value)
        return gated


class FeedForward(nn.Module):
    """Gated GELU (GEGLU) of four times the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The published state dicts have a dropout between the two.
        layers = [_GatedProjection(channels, 4 * channels), nn.Identity()]
        self.net = nn.ModuleList([*layers, nn.Linear(4 * channels, channels)])

    def forward(
        self, hidden: Float[Tensor, "*n c"], residual: Float[Tensor, "*n c"]
    ) -> Float[Tensor, "*n c"]:
        """Widen, gate, narrow; added to `residual`."""
        return add_linear(residual, self.net[2], self.net[0](hidden))


class Downsample(nn.Module):
    """Convolution with stride 2.

    Args:
        channels: In and out.
        padding: On all sides; with 0, the VAE's, a row below and a column to the right.
    """

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, hidden: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h_2 w_2"]:
        """Halve height and width."""
        if self.conv.padding == (0, 0):
            hidden = F.pad(hidden, (0, 1, 0, 1))
        output: Tensor = self.conv(hidden)
        return output


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, or a given one, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, hidden: Float[Tensor, "n c h w"], size: tuple[int, ...] | None = None
    ) -> Float[Tensor, "n c h_2 w_2"]:
        """Enlarge; `size` is height and width where they are not just doubled."""
        rows, columns = hidden.shape[-2:]
        enlarged = F.interpolate(hidden, size=size or (2 * rows, 2 * columns), mode="nearest")
        output: Tensor = self.conv(enlarged)
        return output
