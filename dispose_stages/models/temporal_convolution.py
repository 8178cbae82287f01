"""Convolution over time alone, as a 2-D convolution.

diffusers writes it as a 3-D convolution with kernel (3, 1, 1), for which libraries have slow
general code (and, in bfloat16 on the CPU, a backward pass that crashes). Over (frames, all pixels)
it is an ordinary 2-D convolution with kernel (3, 1): the same sums in another loop order.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class TemporalConvolution(nn.Conv3d):
    """`nn.Conv3d` with kernel (k, 1, 1) and stride 1; parameters and their names are the same."""

    def forward(
        self,
        input: Float[Tensor, "b c f h w"],  # noqa: A002 - the name nn.Conv3d gave
    ) -> Float[Tensor, "b d f h w"]:
        """Convolve over frames."""
        kernel, padding = self.weight.squeeze(-1), (int(self.padding[0]), 0)
        planes = F.conv2d(input.flatten(3), kernel, self.bias, padding=padding)
        return planes.reshape(*planes.shape[:3], *input.shape[3:])


def use_temporal_convolutions(network: nn.Module) -> None:
    """Turn every 3-D convolution of `network` that is one over time into `TemporalConvolution`."""
    for module in network.modules():
        if type(module) is nn.Conv3d and _is_over_time(module):
            module.__class__ = TemporalConvolution


def _is_over_time(convolution: nn.Conv3d) -> bool:
    plain = convolution.stride == convolution.dilation == (1, 1, 1) and convolution.groups == 1
    zeros = convolution.padding_mode == "zeros" and convolution.padding[1:] == (0, 0)
    return convolution.kernel_size[1:] == (1, 1) and plain and zeros
