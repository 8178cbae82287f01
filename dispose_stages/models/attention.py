"""Which of PyTorch's attention kernels runs, chosen by shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

MAX_ROWS = 65_535
"""CUDA's fused attention has rows and heads on grid axes of this length each."""
_LONG = 1024
"""From so many tokens on a kernel that is tiled for long sequences is tried first."""
_FOR_LONG = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
_FOR_SHORT = [
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.MATH,
]


def chooses(query: Tensor) -> bool:
    """Whether there is more than one fused kernel to choose from."""
    return query.is_cuda


def attend(
    query: Float[Tensor, "n heads t d"],
    key: Float[Tensor, "n heads s d"],
    value: Float[Tensor, "n heads s d"],
) -> Float[Tensor, "n heads t d"]:
    """Scaled dot-product attention of any number of rows."""
    if len(query) > MAX_ROWS:
        parts = zip(*(torch.split(x, MAX_ROWS) for x in (query, key, value)), strict=True)
        return torch.cat([attend(*part) for part in parts])
    if not chooses(query):
        return F.scaled_dot_product_attention(query, key, value)
    backends = _FOR_LONG if query.shape[-2] >= _LONG else _FOR_SHORT
    with sdpa_kernel(backends, set_priority=True):
        return F.scaled_dot_product_attention(query, key, value)
