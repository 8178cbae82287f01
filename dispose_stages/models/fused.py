"""Fused kernels for CUDA, as PyTorch operators with a plain form in each layer that uses one.

They save trips to memory and keep channels last; their results differ from the plain form's by
rounding alone (`tests/models/test_fused.py`). Where Triton is missing, on a CPU and while gradients
are recorded, layers take their plain form.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

_TRITON = find_spec("triton") is not None


def applies(value: Tensor) -> bool:
    """Whether a layer is to use the fused kernels for this input."""
    return value.is_cuda and not torch.is_grad_enabled() and _TRITON


@torch.library.custom_op("dispose::group_norm", mutates_args=())
def _group_norm(
    rows: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    silu: bool,  # noqa: FBT001 - operators take positional arguments
) -> Tensor:
    from dispose_stages.models import triton_kernels

    return triton_kernels.group_norm(rows, shift, weight, bias, groups, eps, silu=silu)


@_group_norm.register_fake
def _(rows: Tensor, *_: object) -> Tensor:
    return torch.empty_like(rows)


def group_norm(
    hidden: Float[Tensor, "n c y x"],
    shift: Float[Tensor, "n c"] | None,
    weight: Float[Tensor, "c"],
    bias: Float[Tensor, "c"],
    groups: int,
    eps: float,
    *,
    silu: bool,
) -> Float[Tensor, "n c y x"]:
    """Group normalisation of channels-last planes, statistics in float32.

    Args:
        hidden: Copied where channels are not last in memory.
        shift: Added to every channel before.
        weight: Factor per channel.
        bias: Summand per channel.
        groups: Of channels.
        eps: Added to the variance.
        silu: Apply SiLU to the result.
    """
    rows = hidden.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
    moved = None if shift is None else shift.contiguous()
    normal: Tensor = _group_norm(rows, moved, weight, bias, groups, eps, silu)
    return normal.transpose(1, 2).reshape(hidden.shape)


@torch.library.custom_op("dispose::gated_gelu", mutates_args=())
def _gated_gelu(rows: Tensor) -> Tensor:
    from dispose_stages.models import triton_kernels

    return triton_kernels.gated_gelu(rows)


@_gated_gelu.register_fake
def _(rows: Tensor) -> Tensor:
    return rows.new_empty((rows.shape[0], rows.shape[1] // 2))


def gated_gelu(projected: Float[Tensor, "*n c_2"]) -> Float[Tensor, "*n c"]:
    """The first half of the channels times GELU of the second."""
    gated: Tensor = _gated_gelu(projected.flatten(0, -2))
    return gated.reshape(*projected.shape[:-1], -1)


@torch.library.custom_op("dispose::attention_over_time", mutates_args=())
def _attention_over_time(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    from dispose_stages.models import triton_kernels

    return triton_kernels.attention_over_time(query, key, value, heads)


@_attention_over_time.register_fake
def _(query: Tensor, *_: object) -> Tensor:
    return torch.empty_like(query)


def attention_over_time(
    query: Float[Tensor, "b f p c"],
    key: Float[Tensor, "b f p c"],
    value: Float[Tensor, "b f p c"],
    heads: int,
) -> Float[Tensor, "b f p c"]:
    """Attention over a clip's frames at every position, without bringing them together first."""
    attended: Tensor = _attention_over_time(query, key, value, heads)
    return attended
