"""The video UNet: Stable Video Diffusion's, with pose latents and control residuals.

MimicMotion (Zhang et al., 2024) adds the pose latents after the input convolution; DisPose adds
the ControlNet's residuals to the skip connections (algorithm §8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext
from dispose_stages.models.encoder import SpatioTemporalEncoder, frames_of, over_batch
from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.spatio_temporal import Conditions, DownBlock, MidBlock, UpBlock
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
        control: Sequence[Float[Tensor, "bf _ _ _"]] = (),
        image_only: Bool[Tensor, "b f"] | None = None,
        leave: bool = False,
        left: Sequence[Tensor] = (),
    ) -> Tensor | tuple[Tensor, ...]:
        """One prediction.

        Args:
            latents: Scaled noisy latents, then image latents, on the channel axis.
            time_embedding: Of `time_embed`.
            context: Cross-attention constants arranged for this batch.
            pose_latents: PoseNet's output; zeros for unconditional elements.
            control: The ControlNet's residuals; without them this is plain MimicMotion.
            image_only: Where true, temporal layers are bypassed.
            leave: Also return what another step can take as `left`.
            left: Of another step: what the levels below the outermost gave, and the residuals of
                the outermost. Only that level is run then (DeepCache, Ma et al. 2024).

        Returns:
            ``(b f c_out h w)``; with `leave` a tuple of that and what is left.
        """
        batch = len(latents)
        conditions = self._conditions(latents, time_embedding, context, image_only)
        if left:
            below, *residuals = left
            skips = self._outermost(latents, pose_latents, residuals, context, conditions)
        else:
            below, skips = self._below(latents, pose_latents, control, context, conditions)
            residuals = list(control[: len(skips)])
        hidden = self.up_blocks[-1](below, skips, context.blocks[-1], conditions)
        output: Tensor = self.conv_out(self.conv_norm_out(hidden))
        output = output.reshape(batch, -1, *output.shape[1:])
        return (output, below, *residuals) if leave else output

    def _enter(
        self, latents: Float[Tensor, "b f c_in h w"], pose: Float[Tensor, "#b f c h w"] | None
    ) -> Float[Tensor, "bf c h w"]:
        hidden: Tensor = self.conv_in(frames_of(latents))
        return hidden if pose is None else hidden + over_batch(pose, len(latents))

    def _outermost(
        self,
        latents: Float[Tensor, "b f c_in h w"],
        pose_latents: Float[Tensor, "#b f c h w"] | None,
        residuals: Sequence[Float[Tensor, "bf c h w"]],
        context: ArrangedContext,
        conditions: Conditions,
    ) -> list[Tensor]:
        """The skips of the outermost level, with the control residuals of another step."""
        block, count = self.down_blocks[0], len(self.down_blocks)
        hidden = self._enter(latents, pose_latents)
        _, more = block(hidden, context.blocks[0], conditions)
        skips = [hidden, *more[: len(block.resnets)]]  # type: ignore[arg-type]
        if not residuals:
            return skips
        return [s.add(r, alpha=count) for s, r in zip(skips, residuals, strict=True)]

    def _below(
        self,
        latents: Float[Tensor, "b f c_in h w"],
        pose_latents: Float[Tensor, "#b f c h w"] | None,
        control: Sequence[Float[Tensor, "bf _ _ _"]],
        context: ArrangedContext,
        conditions: Conditions,
    ) -> tuple[Float[Tensor, "bf c2 h w"], list[Tensor]]:
        """Input and skips of the last up block."""
        hidden = self._enter(latents, pose_latents)
        skips, blocks = [hidden], [0]
        constants = iter(context.blocks)
        for index, block in enumerate(self.down_blocks):
            hidden, more = block(hidden, next(constants), conditions)
            skips += more
            blocks += [index] * len(more)
        hidden = self.mid_block(hidden, next(constants), conditions)
        if control:
            *residuals, mid = control
            skips = _accumulate(skips, blocks, residuals, len(self.down_blocks))
            hidden = hidden + mid
        for block in self.up_blocks[:-1]:
            hidden = block(hidden, skips, next(constants), conditions)
        return hidden, skips


def _accumulate(
    skips: list[Tensor], blocks: list[int], residuals: list[Tensor], count: int
) -> list[Tensor]:
    """Add the control residuals to the skips (quirk Q1, not a choice: trained so).

    The released networks add all residuals again after every down block, to all skips collected so
    far: the skips of block `i` of `count`, with the input convolution as part of block 0, receive
    theirs ``count - i`` times.
    """
    return [
        skip.add(residual, alpha=count - block)
        for skip, block, residual in zip(skips, blocks, residuals, strict=True)
    ]


def build_unet(config: Mapping[str, Any]) -> SpatioTemporalUNet:
    """The UNet of a diffusers ``unet/config.json``, with random weights, in training mode.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    return SpatioTemporalUNet(UNetConfig.from_mapping(config))
