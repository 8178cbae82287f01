"""The hybrid ControlNet of DisPose: motion fields and keypoint correspondence (algorithm §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext
from dispose_stages.models.encoder import SpatioTemporalEncoder, frames_of, over_batch
from dispose_stages.models.point_adapter import PointAdapter
from dispose_stages.models.unet_config import UNetConfig

_MOTION_CHANNELS = (16, 32, 96, 256)


class MotionEmbedding(nn.Module):
    """Two convolution stacks of the same shape, one per field, summed and projected.

    Attribute names are those of the published state dict, where the dense field's are ``*_flow``
    and the trajectory field's are ``*_traj``.

    Args:
        out_channels: Width of the UNet's first block.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv_in_flow, self.blocks_flow, self.conv_out_flow = _stack(out_channels)
        self.conv_in_traj, self.blocks_traj, self.conv_out_traj = _stack(out_channels)
        self.conv_final = _convolution(out_channels, out_channels)

    def forward(
        self, dense: Float[Tensor, "n 2 H W"], trajectory: Float[Tensor, "n 2 H W"]
    ) -> Float[Tensor, "n c h w"]:
        """Embed frames, each on its own; pixels in, 1/8 of the size out."""
        output: Tensor = self.conv_final(self.stacked(dense, trajectory))
        return output

    def stacked(
        self, dense: Float[Tensor, "n 2 H W"], trajectory: Float[Tensor, "n 2 H W"]
    ) -> Float[Tensor, "n c h w"]:
        """Sum of both stacks, before the projection."""
        flow = _apply(dense, self.conv_in_flow, self.blocks_flow, self.conv_out_flow)
        traj = _apply(trajectory, self.conv_in_traj, self.blocks_traj, self.conv_out_traj)
        return flow + traj


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, stride=stride)


def _stack(out_channels: int) -> tuple[nn.Conv2d, nn.ModuleList, nn.Conv2d]:
    blocks = nn.ModuleList()
    for inputs, outputs in pairwise(_MOTION_CHANNELS):
        blocks += [_convolution(inputs, inputs), _convolution(inputs, outputs, stride=2)]
    return (
        _convolution(2, _MOTION_CHANNELS[0]),
        blocks,
        _convolution(_MOTION_CHANNELS[-1], out_channels),
    )


def _apply(field: Tensor, conv_in: nn.Module, blocks: nn.ModuleList, conv_out: nn.Module) -> Tensor:
    hidden = F.silu(conv_in(field))
    for block in blocks:
        hidden = F.silu(block(hidden))
    output: Tensor = conv_out(hidden)
    return output


class ControlNet(SpatioTemporalEncoder):
    """A copy of the UNet's encoder that reads motion, with a projection per skip connection.

    Attribute names are those of the published state dict.

    Args:
        point_channels: Width of a keypoint's correspondence feature.
        adapter_channels: Width of the point adapter's outputs, one per down block.
    """

    def __init__(
        self, config: UNetConfig, point_channels: int, adapter_channels: Sequence[int]
    ) -> None:
        super().__init__(config)
        channels = config.block_channels
        widths = [channels[0]]
        for block, width in enumerate(channels):
            samplers = int(block < len(channels) - 1)
            widths += [width] * (config.layers[block] + samplers)
        self.controlnet_down_blocks = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=1) for width in widths
        )
        self.point_adapter = PointAdapter(point_channels, adapter_channels)
        self.controlnet_cond_embedding = MotionEmbedding(channels[0])
        self.controlnet_mid_block = nn.Conv2d(channels[-1], channels[-1], kernel_size=1)

    def embed_motion(
        self, dense: Float[Tensor, "n 2 H W"], trajectory: Float[Tensor, "n 2 H W"]
    ) -> Float[Tensor, "n c h w"]:
        """Embedding of both motion fields (pixels) of some frames, each on its own.

        The fields may be of another type or on another device than the weights.
        """
        like = self.conv_in.weight
        embedded: Tensor = self.controlnet_cond_embedding(dense.to(like), trajectory.to(like))
        return embedded

    def embed_stillness(self, height: int, width: int) -> Float[Tensor, "1 c h w"]:
        """Embedding of no motion at all: that of frame 0, the reference."""
        still = self.conv_in.weight.new_zeros(1, 2, height, width)
        return self.embed_motion(still, still)

    def embed_points(
        self,
        embedding: Float[Tensor, "k d"],
        points: Float[Tensor, "f k 2"],
        visible: Bool[Tensor, "f k"],
        *,
        height: int,
        width: int,
    ) -> tuple[Float[Tensor, "f _ _ _"], ...]:
        """Correspondence features placed at the keypoints of every frame, once per clip."""
        levels: tuple[Tensor, ...] = self.point_adapter(
            embedding, points, visible, height=height, width=width
        )
        return levels

    def forward(
        self,
        latents: Float[Tensor, "b f c_in h w"],
        time_embedding: Float[Tensor, "#b d"],
        context: ArrangedContext,
        *,
        motion: Float[Tensor, "#b f c h w"],
        point_levels: Sequence[Float[Tensor, "_ f _ _ _"]] | None = None,
        scale: float = 1.0,
        image_only: Bool[Tensor, "b f"] | None = None,
    ) -> tuple[Float[Tensor, "bf _ _ _"], ...]:
        """Residuals for the UNet: one per skip connection, input convolution first, then the mid's.

        Args:
            latents: As the UNet's.
            time_embedding: Of this network's own `time_embed`.
            context: This network's own constants, arranged for this batch.
            motion: Of `embed_stillness` and `embed_motion`, the frames of this tile; the same for
                all guidance halves.
            point_levels: Of `embed_points`, one per down block, added after it; ``None`` switches
                correspondence guidance off.
            scale: Factor on all residuals.
            image_only: Where true, temporal layers are bypassed.
        """
        batch = len(latents)
        conditions = self._conditions(latents, time_embedding, context, image_only)
        hidden = self.conv_in(frames_of(latents)) + over_batch(motion, batch)
        skips = [hidden]
        for index, block in enumerate(self.down_blocks):
            hidden, more = block(hidden, context.blocks[index], conditions)
            skips += more
            if point_levels is not None:
                # After the skips were taken: the points reach the next block, not these (Q5).
                hidden = hidden + over_batch(point_levels[index], batch)
        hidden = self.mid_block(hidden, context.blocks[-1], conditions)
        projections = [*self.controlnet_down_blocks, self.controlnet_mid_block]
        outputs = zip(projections, [*skips, hidden], strict=True)
        residuals = tuple(projection(output) for projection, output in outputs)
        return residuals if scale == 1.0 else tuple(each * scale for each in residuals)


def build_control_net(
    unet_config: Mapping[str, Any],
    point_channels: int = 1280,
    adapter_channels: Sequence[int] | None = None,
) -> ControlNet:
    """The ControlNet that fits the UNet of a diffusers ``unet/config.json``, random weights.

    Args:
        point_channels: Width of a keypoint's correspondence feature.
        adapter_channels: Width of the point adapter's outputs; those of the blocks by default.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    config = UNetConfig.from_mapping(unet_config)
    return ControlNet(config, point_channels, adapter_channels or config.block_channels)
