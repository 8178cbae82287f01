"""Group normalisation that leaves the memory layout of its input alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.models import fused


class GroupNorm(nn.GroupNorm):
    """Group normalisation, on request with a shift per channel before and SiLU after it.

    PyTorch's own on CUDA returns planes (NCHW) whatever it is given, so that every convolution
    after it would re-order its input; `dispose_stages.models.fused` has one kernel that does not.

    Args:
        groups: Of channels.
        eps: Added to the variance.
        silu: Apply SiLU to the result.
    """

    def __init__(
        self, channels: int, *, groups: int = 32, eps: float = 1e-6, silu: bool = False
    ) -> None:
        super().__init__(groups, channels, eps=eps)
        self.silu = silu

    def forward(
        self,
        input: Float[Tensor, "n c y x"],  # noqa: A002 - the name nn.GroupNorm gave
        shift: Float[Tensor, "n c"] | None = None,
    ) -> Float[Tensor, "n c y x"]:
        """Normalise over the channels of each group and all positions."""
        if fused.applies(input):
            return fused.group_norm(
                input, shift, self.weight, self.bias, self.num_groups, self.eps, silu=self.silu
            )
        shifted = input if shift is None else input + shift[:, :, None, None]
        normal = super().forward(shifted)
        # The gradient of the norm needs its result as it was.
        return F.silu(normal, inplace=not torch.is_grad_enabled()) if self.silu else normal
