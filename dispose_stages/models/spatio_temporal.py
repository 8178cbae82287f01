"""Blocks of the spatio-temporal UNet: residual layers, transformers, re-sampling.

Residual layers and samplers are diffusers'; attribute names are those of the published state dicts.
Frames of all batch elements are stacked, ``(b f) c h w``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dispose_stages.models.context import BlockConstants, TransformerConstants
from dispose_stages.models.layers import Downsample, Upsample
from dispose_stages.models.residual import SpatioTemporalResidualBlock
from dispose_stages.models.transformer import SpatioTemporalTransformer
from dispose_stages.models.unet_config import UNetConfig


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every block of a call needs beside its input.

    Attributes:
        time: Time embedding per batch element, after SiLU.
        halves: Position of each batch element within its guidance group.
        frames: Per batch element.
        image_only: Where true, temporal layers are bypassed (training on single images).
        checkpointing: Recompute activations in the backward pass instead of keeping them.
    """

    time: Float[Tensor, "b d"]
    halves: Int64[Tensor, "b"]
    frames: int
    image_only: Bool[Tensor, "b f"] | None = None
    checkpointing: bool = False


class _Block(nn.Module):
    """Residual layers, each followed by a transformer where the block has attention."""

    resnets: nn.ModuleList
    attentions: nn.ModuleList

    def _add_layers(
        self,
        config: UNetConfig,
        index: int,
        inputs: Sequence[int],
        *,
        transformers: int,
        eps: float,
    ) -> None:
        """Add a residual layer per entry of `inputs` (channels) and so many transformers."""
        channels = config.block_channels[index]
        # The order of registration is that of the published state dicts.
        if transformers:
            self.attentions = nn.ModuleList(
                SpatioTemporalTransformer(
                    channels,
                    config.heads[index],
                    config.context_channels[index],
                    config.depth[index],
                )
                for _ in range(transformers)
            )
        self.resnets = nn.ModuleList(
            SpatioTemporalResidualBlock(width, channels, config.time_channels, eps=eps)
            for width in inputs
        )

    def cross_attention(self, context: Float[Tensor, "g n d"]) -> BlockConstants:
        """Cross-attention outputs of every transformer for all context entries."""
        return tuple(attention.cross_attention(context) for attention in self._transformers())

    def _transformers(self) -> list[SpatioTemporalTransformer]:
        return list(self.attentions) if hasattr(self, "attentions") else []  # type: ignore[arg-type]

    def _resnet(self, index: int, hidden: Tensor, conditions: Conditions) -> Tensor:
        return _run(
            self.resnets[index],
            conditions.checkpointing,
            hidden,
            conditions.time,
            conditions.frames,
            conditions.image_only,
        )

    def _attend(
        self,
        index: int,
        hidden: Tensor,
        constants: tuple[TransformerConstants, ...],
        conditions: Conditions,
    ) -> Tensor:
        if not constants:
            return hidden
        return _run(
            self.attentions[index],
            conditions.checkpointing,
            hidden,
            constants[index],
            conditions.halves,
            conditions.frames,
            conditions.image_only,
        )


class DownBlock(_Block):
    """Residual layers with attention, then a stride-2 convolution unless it is the last block."""

    def __init__(self, config: UNetConfig, index: int) -> None:
        super().__init__()
        channels, layers = config.block_channels, config.layers[index]
        attends = config.down_attention[index]
        self._add_layers(
            config,
            index,
            [channels[max(index - 1, 0)]] + [channels[index]] * (layers - 1),
            transformers=layers if attends else 0,
            eps=1e-6 if attends else 1e-5,  # as the published networks were built
        )
        if index < len(channels) - 1:
            self.downsamplers = nn.ModuleList([Downsample(channels[index])])

    def forward(
        self,
        hidden: Float[Tensor, "bf c h w"],
        constants: BlockConstants,
        conditions: Conditions,
    ) -> tuple[Float[Tensor, "bf c2 h2 w2"], list[Tensor]]:
        """Returns the output and what the decoder's skip connections read, in order."""
        skips = []
        for index in range(len(self.resnets)):
            hidden = self._resnet(index, hidden, conditions)
            hidden = self._attend(index, hidden, constants, conditions)
            skips.append(hidden)
        if hasattr(self, "downsamplers"):
            hidden = self.downsamplers[0](hidden)
            skips.append(hidden)
        return hidden, skips


class MidBlock(_Block):
    """A residual layer, a transformer, a residual layer."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        last = len(config.block_channels) - 1
        inputs = [config.block_channels[last]] * 2
        self._add_layers(config, last, inputs, transformers=1, eps=1e-5)

    def forward(
        self,
        hidden: Float[Tensor, "bf c h w"],
        constants: BlockConstants,
        conditions: Conditions,
    ) -> Float[Tensor, "bf c h w"]:
        """Same size in and out."""
        hidden = self._resnet(0, hidden, conditions)
        hidden = self._attend(0, hidden, constants, conditions)
        return self._resnet(1, hidden, conditions)


class UpBlock(_Block):
    """Residual layers on the input joined with a skip each, attention, then up-sampling.

    Args:
        index: Of the down block that this one mirrors.
    """

    def __init__(self, config: UNetConfig, index: int) -> None:
        super().__init__()
        channels, last = config.block_channels, len(config.block_channels) - 1
        own, layers = channels[index], config.layers[index] + 1
        hidden = [channels[min(index + 1, last)]] + [own] * (layers - 1)
        # The skips of the down block, last first; its first one comes from the block before.
        skips = [own] * (layers - 1) + [channels[max(index - 1, 0)]]
        self._add_layers(
            config,
            index,
            [sum(pair) for pair in zip(hidden, skips, strict=True)],
            transformers=layers if config.up_attention[last - index] else 0,
            eps=1e-6,
        )
        if index > 0:
            self.upsamplers = nn.ModuleList([Upsample(own)])

    def forward(
        self,
        hidden: Float[Tensor, "bf c h w"],
        skips: list[Tensor],
        constants: BlockConstants,
        conditions: Conditions,
    ) -> Float[Tensor, "bf c2 h2 w2"]:
        """Takes the skips it needs off the end of `skips`; up-samples to the size of the next."""
        for index in range(len(self.resnets)):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            hidden = self._resnet(index, hidden, conditions)
            hidden = self._attend(index, hidden, constants, conditions)
        if hasattr(self, "upsamplers"):
            hidden = self.upsamplers[0](hidden, skips[-1].shape[-2:])
        return hidden


def _run(module: nn.Module, checkpointing: bool, *inputs: object) -> Tensor:  # noqa: FBT001
    if checkpointing and torch.is_grad_enabled():
        output: Tensor = checkpoint(module, *inputs, use_reentrant=False)
    else:
        output = module(*inputs)
    return output
