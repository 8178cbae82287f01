"""Embedding of the dense and the trajectory motion field, per frame (algorithm §7)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_CHANNELS = (16, 32, 96, 256)


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
    for inputs, outputs in pairwise(_CHANNELS):
        blocks += [_convolution(inputs, inputs), _convolution(inputs, outputs, stride=2)]
    return _convolution(2, _CHANNELS[0]), blocks, _convolution(_CHANNELS[-1], out_channels)


def _apply(field: Tensor, conv_in: nn.Module, blocks: nn.ModuleList, conv_out: nn.Module) -> Tensor:
    hidden = F.silu(conv_in(field))
    for block in blocks:
        hidden = F.silu(block(hidden))
    output: Tensor = conv_out(hidden)
    return output
