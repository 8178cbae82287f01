"""Stable Diffusion's UNet up to one up block, whose output is a diffusion feature.

Attribute names are those of the published state dict (diffusers' `UNet2DConditionModel`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.errors import WeightsError
from dispose_stages.models.attention import attend
from dispose_stages.models.layers import (
    Downsample,
    FeedForward,
    TimestepEmbedding,
    Upsample,
    sinusoids,
)
from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.residual import ResidualBlock

_NORM_EPS = 1e-5
_ATTENDS = {"CrossAttnDownBlock2D", "CrossAttnUpBlock2D"}
_PLAIN = {"DownBlock2D", "UpBlock2D"}


class Attention(nn.Module):
    """Multi-head attention to a context, the hidden state itself unless another is given."""

    def __init__(self, channels: int, heads: int, context_channels: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels or channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels or channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(
        self, hidden: Float[Tensor, "n p c"], context: Float[Tensor, "n t d"] | None = None
    ) -> Float[Tensor, "n p c"]:
        """Attend within each image."""
        context = hidden if context is None else context
        query, key, value = (
            rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)
            for rows in (self.to_q(hidden), self.to_k(context), self.to_v(context))
        )
        output: Tensor = self.to_out[0](attend(query, key, value).transpose(1, 2).flatten(2))
        return output


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        hidden = hidden + self.attn1(self.norm1(hidden))
        hidden = hidden + self.attn2(self.norm2(hidden), context)
        output: Tensor = self.ff(self.norm3(hidden), hidden)
        return output


class _Transformer(nn.Module):
    def __init__(self, channels: int, heads: int, context_channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels, groups=groups)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([_Layer(channels, heads, context_channels)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, planes: Tensor, context: Tensor) -> Tensor:
        hidden = self.proj_in(self.norm(planes)).flatten(2).transpose(1, 2)
        hidden = self.transformer_blocks[0](hidden, context)
        output: Tensor = self.proj_out(hidden.transpose(1, 2).reshape(planes.shape))
        return planes + output


class _Block(nn.Module):
    """Residual layers, each followed by a transformer where the block attends."""

    def __init__(
        self, inputs: Sequence[int], channels: int, config: Mapping[str, Any], *, attention: bool
    ) -> None:
        super().__init__()
        groups, time_channels = config["norm_num_groups"], 4 * config["block_out_channels"][0]
        if attention:
            self.attentions = nn.ModuleList(_transformer(channels, config) for _ in inputs)
        self.resnets = nn.ModuleList(
            ResidualBlock(width, channels, time_channels, groups=groups, eps=_NORM_EPS)
            for width in inputs
        )

    def _layer(self, index: int, hidden: Tensor, time: Tensor, context: Tensor) -> Tensor:
        hidden = self.resnets[index](hidden, time)
        return self.attentions[index](hidden, context) if hasattr(self, "attentions") else hidden


class _DownBlock(_Block):
    downsamplers: nn.ModuleList

    def forward(self, hidden: Tensor, time: Tensor, context: Tensor) -> list[Tensor]:
        skips = []
        for index in range(len(self.resnets)):
            hidden = self._layer(index, hidden, time, context)
            skips.append(hidden)
        if hasattr(self, "downsamplers"):
            skips.append(self.downsamplers[0](hidden))
        return skips


class _UpBlock(_Block):
    upsamplers: nn.ModuleList

    def forward(self, hidden: Tensor, skips: list[Tensor], time: Tensor, context: Tensor) -> Tensor:
        for index in range(len(self.resnets)):
            joined = torch.cat([hidden, skips.pop()], dim=1)
            hidden = self._layer(index, joined, time, context)
        return self.upsamplers[0](hidden) if hasattr(self, "upsamplers") else hidden


def _transformer(channels: int, config: Mapping[str, Any]) -> _Transformer:
    # What the configuration calls the width of a head is, in this network, their number.
    heads = config["attention_head_dim"]
    return _Transformer(channels, heads, config["cross_attention_dim"], config["norm_num_groups"])


class _MidBlock(nn.Module):
    def __init__(self, channels: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        groups, time_channels = config["norm_num_groups"], 4 * config["block_out_channels"][0]
        self.attentions = nn.ModuleList([_transformer(channels, config)])
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, channels, time_channels, groups=groups, eps=_NORM_EPS)
            for _ in range(2)
        )

    def forward(self, hidden: Tensor, time: Tensor, context: Tensor) -> Tensor:
        hidden = self.attentions[0](self.resnets[0](hidden, time), context)
        output: Tensor = self.resnets[1](hidden, time)
        return output


class FeatureUNet(nn.Module):
    """The network; nothing after the up block that gives the feature exists.

    Args:
        config: As in ``unet/config.json``; `build_feature_unet` checks it.
        up_block: Index of the last up block.
    """

    def __init__(self, config: Mapping[str, Any], up_block: int) -> None:
        super().__init__()
        channels, layers = config["block_out_channels"], config["layers_per_block"]
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(config["in_channels"], channels[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0])
        self.down_blocks = nn.ModuleList()
        for index, (own, kind) in enumerate(zip(channels, config["down_block_types"], strict=True)):
            inputs = [channels[max(index - 1, 0)]] + [own] * (layers - 1)
            block = _DownBlock(inputs, own, config, attention=kind in _ATTENDS)
            if index < last:
                block.downsamplers = nn.ModuleList([Downsample(own)])
            self.down_blocks.append(block)
        self.mid_block = _MidBlock(channels[-1], config)
        self.up_blocks = nn.ModuleList()
        for index, kind in enumerate(config["up_block_types"][: up_block + 1]):
            mirrored = last - index
            own, below = channels[mirrored], channels[max(mirrored - 1, 0)]
            hidden = [channels[min(mirrored + 1, last)]] + [own] * layers
            skips = [own] * layers + [below]
            inputs = [sum(pair) for pair in zip(hidden, skips, strict=True)]
            above = _UpBlock(inputs, own, config, attention=kind in _ATTENDS)
            if index < last:
                above.upsamplers = nn.ModuleList([Upsample(own)])
            self.up_blocks.append(above)
        self.eval()

    def forward(
        self,
        latents: Float[Tensor, "b 4 h w"],
        timestep: int,
        context: Float[Tensor, "b tokens d"],
    ) -> Float[Tensor, "b c h_out w_out"]:
        """Output of the last up block that is kept."""
        steps = torch.full((len(latents),), timestep, device=latents.device)
        sines = sinusoids(steps, self.conv_in.out_channels).to(latents.dtype)
        time = F.silu(self.time_embedding(sines))
        skips = [self.conv_in(latents)]
        for block in self.down_blocks:
            skips += block(skips[-1], time, context)
        hidden = self.mid_block(skips[-1], time, context)
        for block in self.up_blocks:
            hidden = block(hidden, skips, time, context)
        features: Tensor = hidden
        return features


def build_feature_unet(config: Mapping[str, Any], up_block: int) -> FeatureUNet:
    """The network of Stable Diffusion's ``unet/config.json``, with random weights.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    try:
        names = ("layers_per_block", "cross_attention_dim", "attention_head_dim", "in_channels")
        sizes = {name: int(config[name]) for name in names}
        sizes["norm_num_groups"] = int(config.get("norm_num_groups", 32))
        kinds = {*config["down_block_types"], *config["up_block_types"]}
        known = kinds <= _ATTENDS | _PLAIN and not config.get("use_linear_projection")
        network = FeatureUNet({**config, **sizes}, up_block)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"not the configuration of a UNet of images: {error!r}") from error
    if not known:
        raise WeightsError(f"not the configuration of Stable Diffusion 1.5's UNet: {kinds}")
    return network
