"""PoseNet of MimicMotion: pose images to latent-sized features (algorithm §8)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# outputs, kernel, stride of each convolution
_LAYERS = (
    (3, 3, 1),
    (16, 4, 2),
    (16, 3, 1),
    (32, 4, 2),
    (32, 3, 1),
    (64, 4, 2),
    (64, 3, 1),
    (128, 3, 1),
)


class PoseNet(nn.Module):
    """Convolutions with SiLU, a projection and a learned scale.

    Attribute names are those of the published state dict.

    Args:
        out_channels: Width of the UNet's first block.
    """

    def __init__(self, out_channels: int = 320) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, kernel, stride in _LAYERS:
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding=1), nn.SiLU()]
            inputs = outputs
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(inputs, out_channels, kernel_size=1)

    def forward(self, poses: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        """Embed pose images in [-1, 1], each on its own; 1/8 of the size out. Once per clip."""
        output: Tensor = self.final_proj(self.conv_layers(poses)) * self.scale
        return output


def build_pose_net(out_channels: int = 320) -> PoseNet:
    """A PoseNet with random weights for a UNet whose first block is `out_channels` wide."""
    return PoseNet(out_channels)
