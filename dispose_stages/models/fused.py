"""Fused kernels for CUDA, as PyTorch operators with a plain form in each layer that uses one.

They save trips to memory and keep channels last; their results differ from the plain form's by
rounding alone (`tests/models/test_fused.py`). Where Triton is missing, on a CPU and while gradients
are recorded, layers take their plain form. A kernel that does not compile for a card is replaced by
PyTorch's operations from then on, which is said in the log and in `so_far`.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dispose_stages.models.attention import attend

_logger = logging.getLogger(__name__)
_TRITON = find_spec("triton") is not None
_HALVES = (torch.float16, torch.bfloat16)
_RIDGE = 256
"""FLOPs per byte above which a product waits for arithmetic, and a library's is the better one."""
_SAID = 300
_failures: dict[str, str] = {}


def applies(value: Tensor) -> bool:
    """Whether a layer is to use the fused kernels for this input."""
    return value.is_cuda and not torch.is_grad_enabled() and _TRITON


def gates(value: Tensor) -> bool:
    """Whether `gated_linear` is to be used: in float32 it would forgo the library's kernels."""
    return applies(value) and value.dtype in _HALVES


def adds(value: Tensor, weight: Float[Tensor, "w d"]) -> bool:
    """Whether `linear_add` is to be used: where memory, not arithmetic, bounds the product."""
    width, depth = weight.shape
    return gates(value) and width * depth < _RIDGE * (depth + 2 * width)


def so_far() -> str:
    """``yes``, or which kernels this process had to replace and why, for the provenance."""
    return "; ".join(f"{name}: {said}" for name, said in _failures.items()) or "yes"


def _kernel_or_plain(
    name: str, kernel: Callable[[], Tensor], plain: Callable[[], Tensor]
) -> Tensor:
    if name not in _failures:
        try:
            return kernel()
        except Exception as error:
            if not _of_triton(error):
                raise
            _failures[name] = " ".join(f"{type(error).__name__}: {error}".split())[:_SAID]
            _logger.warning("the fused kernel %s is not used: %s", name, _failures[name])
    return plain()


def _of_triton(error: Exception) -> bool:
    """Whether the kernel could not be made; a launch that failed is another matter."""
    made_of = type(error).__module__.partition(".")[0]
    no_tools = isinstance(error, RuntimeError) and "C compiler" in str(error)
    broken = isinstance(error, ImportError | subprocess.CalledProcessError | _UnfitCardError)
    return made_of == "triton" or no_tools or broken


class _UnfitCardError(Exception):
    """A kernel would run, but slower than the library's."""


def _check_tensor_cores(value: Tensor) -> None:
    """Triton's products for cards before Ampere do without tensor cores."""
    if value.is_cuda and torch.cuda.get_device_capability(value.device) < (8, 0):
        raise _UnfitCardError("the card is older than Ampere")


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
    # A compiler may have left out the caller's own call, on its idea of the layout.
    rows = rows.contiguous()

    def kernel() -> Tensor:
        from dispose_stages.models import triton_kernels

        return triton_kernels.group_norm(rows, shift, weight, bias, groups, eps, silu=silu)

    def plain() -> Tensor:
        moved = rows if shift is None else rows + shift[:, None]
        normal = F.group_norm(moved.transpose(1, 2), groups, weight, bias, eps)
        return (F.silu(normal) if silu else normal).transpose(1, 2).contiguous()

    return _kernel_or_plain("group_norm", kernel, plain)


@_group_norm.register_fake
def _(rows: Tensor, *_: object) -> Tensor:
    return rows.new_empty(rows.shape)


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
    rows = rows.contiguous()

    def kernel() -> Tensor:
        from dispose_stages.models import triton_products

        return triton_products.gated_gelu(rows)

    return _kernel_or_plain("gated_gelu", kernel, lambda: _gate(rows))


@_gated_gelu.register_fake
def _(rows: Tensor) -> Tensor:
    return rows.new_empty((rows.shape[0], rows.shape[1] // 2))


def _gate(projected: Tensor) -> Tensor:
    value, gate = projected.chunk(2, dim=-1)
    return F.gelu(gate).mul_(value)


def gated_gelu(projected: Float[Tensor, "*n c_2"]) -> Float[Tensor, "*n c"]:
    """The first half of the channels times GELU of the second."""
    gated: Tensor = _gated_gelu(projected.flatten(0, -2))
    return gated.reshape(*projected.shape[:-1], -1)


@torch.library.custom_op("dispose::gated_linear", mutates_args=())
def _gated_linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = rows.contiguous()

    def kernel() -> Tensor:
        from dispose_stages.models import triton_products

        _check_tensor_cores(rows)
        return triton_products.gated_linear(rows, weight.contiguous(), bias)

    return _kernel_or_plain(
        "gated_linear", kernel, lambda: _gated_gelu(F.linear(rows, weight, bias))
    )


@_gated_linear.register_fake
def _(rows: Tensor, weight: Tensor, _: Tensor) -> Tensor:
    return rows.new_empty((rows.shape[0], weight.shape[0] // 2))


def gated_linear(
    hidden: Float[Tensor, "*n d"], weight: Float[Tensor, "w_2 d"], bias: Float[Tensor, "w_2"]
) -> Float[Tensor, "*n w"]:
    """`gated_gelu` of a linear layer, whose result never goes to memory."""
    gated: Tensor = _gated_linear(hidden.flatten(0, -2), weight, bias)
    return gated.reshape(*hidden.shape[:-1], -1)


@torch.library.custom_op("dispose::linear_add", mutates_args=())
def _linear_add(rows: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    rows, residual = rows.contiguous(), residual.contiguous()

    def kernel() -> Tensor:
        from dispose_stages.models import triton_products

        _check_tensor_cores(rows)
        return triton_products.linear_add(rows, weight.contiguous(), bias, residual)

    return _kernel_or_plain("linear_add", kernel, lambda: residual + F.linear(rows, weight, bias))


@_linear_add.register_fake
def _(_rows: Tensor, _weight: Tensor, _bias: Tensor, residual: Tensor) -> Tensor:
    return residual.new_empty(residual.shape)


def linear_add(
    hidden: Float[Tensor, "*n d"],
    weight: Float[Tensor, "w d"],
    bias: Float[Tensor, "w"],
    residual: Float[Tensor, "*n w"],
) -> Float[Tensor, "*n w"]:
    """A residual and a linear layer in one kernel."""
    total: Tensor = _linear_add(hidden.flatten(0, -2), weight, bias, residual.flatten(0, -2))
    return total.reshape(residual.shape)


@torch.library.custom_op("dispose::attention_over_time", mutates_args=())
def _attention_over_time(packed: Tensor, heads: int) -> Tensor:
    packed = packed.contiguous()

    def kernel() -> Tensor:
        from dispose_stages.models import triton_kernels

        return triton_kernels.attention_over_time(packed, heads)

    def plain() -> Tensor:
        batch, frames, positions, _ = packed.shape
        parts = packed.reshape(batch, frames, positions, 3, heads, -1)
        attended = attend(*parts.permute(3, 0, 2, 4, 1, 5).flatten(1, 2))  # bp h f d
        apart = attended.reshape(batch, positions, heads, frames, -1)
        return apart.permute(0, 3, 1, 2, 4).flatten(3)

    return _kernel_or_plain("attention_over_time", kernel, plain)


@_attention_over_time.register_fake
def _(packed: Tensor, *_: object) -> Tensor:
    return packed.new_empty((*packed.shape[:-1], packed.shape[-1] // 3))


def attention_over_time(packed: Float[Tensor, "b f p c_3"], heads: int) -> Float[Tensor, "b f p c"]:
    """Attention over a clip's frames at every position, without bringing them together first.

    Args:
        packed: Query, key and value one after the other.
        heads: That divide the channels.
    """
    attended: Tensor = _attention_over_time(packed, heads)
    return attended
