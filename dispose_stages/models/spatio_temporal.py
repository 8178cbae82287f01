"""Blocks of the spatio-temporal UNet: residual layers, transformers, re-sampling.

Residual layers and samplers are diffusers'; attribute names are those of the published state dicts.
Frames of all batch elements are stacked, ``(b f) c h w``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dispose_stages.models.context import BlockConstants, TransformerConstants
from dispose_stages.models.transformer import SpatioTemporalTransformer


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every block of a call needs beside its input.

    Attributes:
        time: Time embedding per frame.
        halves: Position of each batch element within its guidance group.
        image_only: Where true, temporal layers are bypassed (training on single images).
        checkpointing: Recompute activations in the backward pass instead of keeping them.
    """

    time: Float[Tensor, "bf d"]
    halves: Int64[Tensor, "b"]
    image_only: Bool[Tensor, "b f"]
    checkpointing: bool = False


@dataclass(frozen=True, slots=True)
class Width:
    """Sizes of one block's layers.

    Attributes:
        channels: Output channels.
        time_channels: Width of the time embedding.
        layers: Residual layers.
        heads: Attention heads; 0 for a block without attention.
        context_channels: Width of the image embedding.
        depth: Layers per transformer.
    """

    channels: int
    time_channels: int
    layers: int
    heads: int
    context_channels: int
    depth: int = 1

    def transformers(self, count: int) -> list[SpatioTemporalTransformer]:
        """So many transformers of this width, none for a block without attention."""
        if not self.heads:
            return []
        return [
            SpatioTemporalTransformer(self.channels, self.heads, self.context_channels, self.depth)
            for _ in range(count)
        ]


class _Block(nn.Module):
    """Residual layers, each followed by a transformer where the block has attention."""

    resnets: nn.ModuleList
    attentions: nn.ModuleList

    def _add_layers(self, resnets: Sequence[nn.Module], attentions: Sequence[nn.Module]) -> None:
        # The order of registration is that of the published state dicts.
        if attentions:
            self.attentions = nn.ModuleList(attentions)
        self.resnets = nn.ModuleList(resnets)

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
            conditions.image_only,
        )


class DownBlock(_Block):
    """Residual layers with attention, then a stride-2 convolution unless it is the last block."""

    def __init__(self, in_channels: int, width: Width, *, downsample: bool) -> None:
        super().__init__()
        eps = 1e-6 if width.heads else 1e-5  # as the published networks were built
        self._add_layers(
            [
                _residual(in_channels if i == 0 else width.channels, width, eps)
                for i in range(width.layers)
            ],
            width.transformers(width.layers),
        )
        if downsample:
            self.downsamplers = nn.ModuleList(
                [Downsample2D(width.channels, use_conv=True, padding=1, name="op")]
            )

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

    def __init__(self, width: Width) -> None:
        super().__init__()
        self._add_layers(
            [_residual(width.channels, width, 1e-5) for _ in range(2)], width.transformers(1)
        )

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
        in_channels: Channels of the input.
        skip_channels: Channels of the skip connection of each residual layer, in order of use.
        width: Sizes of the layers.
        upsample: Whether the block doubles the size at its end.
    """

    def __init__(
        self, in_channels: int, skip_channels: Sequence[int], width: Width, *, upsample: bool
    ) -> None:
        super().__init__()
        inputs = [in_channels] + [width.channels] * (len(skip_channels) - 1)
        self._add_layers(
            [
                _residual(hidden + skip, width, 1e-6)
                for hidden, skip in zip(inputs, skip_channels, strict=True)
            ],
            width.transformers(len(skip_channels)),
        )
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample2D(width.channels, use_conv=True)])

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


def _residual(in_channels: int, width: Width, eps: float) -> nn.Module:
    block: nn.Module = SpatioTemporalResBlock(
        in_channels=in_channels,
        out_channels=width.channels,
        temb_channels=width.time_channels,
        eps=eps,
    )
    return block


def _run(module: nn.Module, checkpointing: bool, *inputs: object) -> Tensor:  # noqa: FBT001
    if checkpointing and torch.is_grad_enabled():
        output: Tensor = checkpoint(module, *inputs, use_reentrant=False)
    else:
        output = module(*inputs)
    return output
