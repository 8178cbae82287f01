"""Convolution over time alone, as a 2-D convolution.

diffusers writes it as a 3-D convolution with kernel (3, 1, 1), for which libraries have slow
general code (and, in bfloat16 on the CPU, a backward pass that crashes). Over (frames, all pixels)
it is an ordinary 2-D convolution with kernel (3, 1): the same sums in another loop order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class TemporalConvolution(nn.Conv3d):
    """`nn.Conv3d` with kernel (3, 1, 1); parameters and their names are the same."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(
        self,
        input: Float[Tensor, "b c f p"],  # noqa: A002 - the name nn.Conv3d gave
    ) -> Float[Tensor, "b c f p"]:
        """Convolve over frames."""
        return F.conv2d(input, self.weight.squeeze(-1), self.bias, padding=(1, 0))


def channels_last(network: nn.Module) -> None:
    """Keep channels last in the memory of every convolution's weight, as the activations do."""
    for module in network.modules():
        if isinstance(module, TemporalConvolution):
            kernel = module.weight.data.squeeze(-1)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            module.weight.data = kernel.unsqueeze(-1)
        elif isinstance(module, nn.Conv2d):
            weight = module.weight.data
            module.weight.data = weight.contiguous(memory_format=torch.channels_last)
