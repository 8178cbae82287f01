"""What the UNet and the ControlNet share: embeddings of time and the encoder's blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import (
    ArrangedContext,
    GuidanceBatch,
    TemporalOrder,
    arrange,
)
from dispose_stages.models.layers import TimestepEmbedding, sinusoids
from dispose_stages.models.spatio_temporal import Conditions, DownBlock, MidBlock, UpBlock
from dispose_stages.models.unet_config import UNetConfig


class SpatioTemporalEncoder(nn.Module):
    """Input convolution, time embeddings, down blocks and mid block.

    Attribute names are those of the published state dicts.

    Attributes:
        gradient_checkpointing: Recompute activations in the backward pass.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        channels = config.block_channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], kernel_size=3, padding=1)
        self.time_embedding = TimestepEmbedding(channels[0], config.time_channels)
        self._time_ids_channels = config.time_ids_channels
        self.add_embedding = TimestepEmbedding(config.time_ids_width, config.time_channels)
        self.down_blocks = nn.ModuleList(DownBlock(config, index) for index in range(len(channels)))
        self.mid_block = MidBlock(config)

    def cross_attention(
        self, context: Float[Tensor, "g n d"], batch: GuidanceBatch, order: TemporalOrder
    ) -> ArrangedContext:
        """What every cross-attention adds to the elements of a batch, once per run.

        Args:
            context: Image embeddings: per group those of the guidance halves (zeros first), or
                one alone.
            batch: What each batch element stands for.
            order: Order of the temporal contexts (Q0).
        """
        return ArrangedContext(
            blocks=tuple(
                tuple(
                    tuple(arrange(layer, batch, order) for layer in transformer)
                    for transformer in block.cross_attention(context)
                )
                for block in self._blocks()
            ),
            halves=torch.tensor(batch.halves, device=context.device),
        )

    def _blocks(self) -> list[DownBlock | MidBlock | UpBlock]:
        """All blocks in order of execution."""
        return [*self.down_blocks, self.mid_block]

    def time_embed(
        self, timestep: Float[Tensor, "*b"], added_time_ids: Float[Tensor, "#b i"]
    ) -> Float[Tensor, "#b d"]:
        """Embedding of the timestep and the added time ids, once per step.

        Args:
            timestep: ``0.25 * ln(sigma)``, one value for all or one per batch element.
            added_time_ids: ``(fps - 1, motion bucket, noise augmentation)``.

        Sines are computed in float32 and then take the type of the weights.
        """
        dtype = self.conv_in.weight.dtype
        sines = sinusoids(timestep.reshape(-1), self.conv_in.out_channels)
        id_sines = sinusoids(added_time_ids.flatten(), self._time_ids_channels)
        id_sines = id_sines.reshape(len(added_time_ids), -1)
        embedding: Tensor = self.time_embedding(sines.to(dtype))
        return embedding + self.add_embedding(id_sines.to(dtype))  # type: ignore[no-any-return]

    def _conditions(
        self,
        latents: Float[Tensor, "b f c h w"],
        time_embedding: Float[Tensor, "#b d"],
        context: ArrangedContext,
        image_only: Bool[Tensor, "b f"] | None,
    ) -> Conditions:
        batch, frames = latents.shape[:2]
        if len(context.halves) != batch:
            raise ValueError(f"context is arranged for {len(context.halves)}, not {batch} elements")
        return Conditions(
            time=F.silu(time_embedding).expand(batch, -1),
            halves=context.halves,
            frames=frames,
            image_only=image_only,
            checkpointing=self.gradient_checkpointing,
        )


def frames_of(latents: Float[Tensor, "b f c h w"]) -> Float[Tensor, "bf c h w"]:
    """Frames of all batch elements, channels last in memory; everything after keeps that."""
    return latents.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def over_batch(value: Float[Tensor, "#b f c h w"], batch: int) -> Float[Tensor, "bf c h w"]:
    """Stack the frames of all batch elements, repeating what all of them share."""
    return value.expand(batch, *value.shape[1:]).flatten(0, 1)
