"""The video UNet: Stable Video Diffusion's, with pose latents and control residuals.

MimicMotion (Zhang et al., 2024) adds the pose latents after the input convolution; DisPose adds
the ControlNet's residuals to the skip connections (algorithm §8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext
from dispose_stages.models.control_net import ControlResiduals
from dispose_stages.models.encoder import SpatioTemporalEncoder, frames_of, over_batch
from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.spatio_temporal import DownBlock, MidBlock, UpBlock
from dispose_stages.models.unet_config import UNetConfig


class SpatioTemporalUNet(SpatioTemporalEncoder):
    """Predicts ``v`` of the noisy latents of a tile of frames.

    Attribute names are those of the published state dicts.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        channels = config.block_channels
        self.up_blocks = nn.ModuleList(
            UpBlock(config, index) for index in reversed(range(len(channels)))
        )
        self.conv_norm_out = GroupNorm(channels[0], eps=1e-5, silu=True)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, kernel_size=3, padding=1)

    def _blocks(self) -> list[DownBlock | MidBlock | UpBlock]:
        return [*super()._blocks(), *self.up_blocks]

    def forward(
        self,
        latents: Float[Tensor, "b f c_in h w"],
        time_embedding: Float[Tensor, "#b d"],
        context: ArrangedContext,
        *,
        pose_latents: Float[Tensor, "#b f c h w"] | None = None,
        control: ControlResiduals | None = None,
        image_only: Bool[Tensor, "b f"] | None = None,
    ) -> Float[Tensor, "b f c_out h w"]:
        """One prediction.

        Args:
            latents: Scaled noisy latents, then image latents, on the channel axis.
            time_embedding: Of `time_embed`.
            context: Cross-attention constants arranged for this batch.
            pose_latents: PoseNet's output; zeros for unconditional elements.
            control: The ControlNet's residuals; without them this is plain MimicMotion.
            image_only: Where true, temporal layers are bypassed.
        """
        batch = len(latents)
        conditions = self._conditions(latents, time_embedding, context, image_only)
        hidden = self.conv_in(frames_of(latents))
        if pose_latents is not None:
            hidden = hidden + over_batch(pose_latents, batch)
        skips, blocks = [hidden], [0]
        constants = iter(context.blocks)
        for index, block in enumerate(self.down_blocks):
            hidden, more = block(hidden, next(constants), conditions)
            skips += more
            blocks += [index] * len(more)
        hidden = self.mid_block(hidden, next(constants), conditions)
        if control is not None:
            skips = _accumulate(skips, blocks, control, len(self.down_blocks))
            hidden = hidden + control.mid
        for block in self.up_blocks:
            hidden = block(hidden, skips, next(constants), conditions)
        output: Tensor = self.conv_out(self.conv_norm_out(hidden))
        return output.reshape(batch, -1, *output.shape[1:])


def _accumulate(
    skips: list[Tensor], blocks: list[int], control: ControlResiduals, count: int
) -> list[Tensor]:
    """Add the control residuals to the skips (quirk Q1, not a choice: trained so).

    The released networks add all residuals again after every down block, to all skips collected so
    far: the skips of block `i` of `count`, with the input convolution as part of block 0, receive
    theirs ``count - i`` times.
    """
    return [
        skip.add(residual, alpha=count - block)
        for skip, block, residual in zip(skips, blocks, control.down, strict=True)
    ]


def build_unet(config: Mapping[str, Any]) -> SpatioTemporalUNet:
    """The UNet of a diffusers ``unet/config.json``, with random weights, in training mode.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    return SpatioTemporalUNet(UNetConfig.from_mapping(config))
