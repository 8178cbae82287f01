"""The Triton kernels in Triton's interpreter beside PyTorch; no GPU needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dispose_stages.models import fused

ROUNDING = {torch.float32: 2e-6, torch.float16: 1.5e-3, torch.bfloat16: 1.2e-2}
"""Of the largest value: a few units in the last place of the type."""


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """`expected` is the plain form in float64."""
    assert actual.shape == expected.shape
    error = (actual.double() - expected).abs().max() / expected.abs().max()
    assert error <= ROUNDING[actual.dtype]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(
    ("channels", "groups", "size"), [(64, 32, (5, 3)), (320, 32, (16, 9)), (24, 4, (1, 1))]
)
@pytest.mark.parametrize(("silu", "shifted"), [(False, False), (True, True)])
def test_group_norm(
    dtype: torch.dtype, channels: int, groups: int, size: tuple[int, int], silu: bool, shifted: bool
) -> None:
    """Any number of channels per group, with and without the shift and SiLU; layout is kept."""
    hidden = random(3, channels, *size, dtype=dtype) * 2 + 1
    hidden = hidden.contiguous(memory_format=torch.channels_last)
    weight, bias = random(channels, seed=1, dtype=dtype), random(channels, seed=2, dtype=dtype)
    shift = random(3, channels, seed=3, dtype=dtype) if shifted else None
    actual = fused.group_norm(hidden, shift, weight, bias, groups, 1e-5, silu=silu)
    moved = hidden.double() + (0 if shift is None else shift.double()[:, :, None, None])
    expected = F.group_norm(moved, groups, weight.double(), bias.double(), 1e-5)
    assert_close(actual, F.silu(expected) if silu else expected)
    assert actual.is_contiguous(memory_format=torch.channels_last)


def test_group_norm_far_from_zero() -> None:
    """A mean a thousand times the deviation costs no accuracy beyond float32's own."""
    hidden = random(1, 32, 64, 33) + 1000
    hidden = hidden.contiguous(memory_format=torch.channels_last)
    ones, zeros = torch.ones(32), torch.zeros(32)
    actual = fused.group_norm(hidden, None, ones, zeros, 32, 1e-6, silu=False)
    expected = F.group_norm(hidden.double(), 32, ones.double(), zeros.double(), 1e-6)
    assert (actual - expected).abs().max() <= 1e-3


def test_group_norm_of_planes_in_another_layout() -> None:
    """Planes are brought into the layout first."""
    hidden, ones, zeros = random(2, 32, 4, 4), torch.ones(32), torch.zeros(32)
    last = hidden.contiguous(memory_format=torch.channels_last)
    results = [fused.group_norm(x, None, ones, zeros, 8, 1e-6, silu=True) for x in (hidden, last)]
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_gated_gelu(dtype: torch.dtype) -> None:
    """The exact GELU, not its tanh."""
    projected = random(2, 5, 2 * 40, dtype=dtype) * 2
    value, gate = projected.double().chunk(2, dim=-1)
    assert_close(fused.gated_gelu(projected), value * F.gelu(gate))


# The interpreter holds bfloat16 as integers and multiplies these.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("frames", [1, 5, 16, 17])
def test_attention_over_time(dtype: torch.dtype, frames: int) -> None:
    """Any number of frames, each position and head for itself."""
    query, key, value = (random(2, frames, 3, 2 * 8, seed=s, dtype=dtype) for s in range(3))
    actual = fused.attention_over_time(query, key, value, 2)

    def heads(x: Tensor) -> Tensor:
        return x.double().unflatten(-1, (2, 8)).permute(0, 2, 3, 1, 4)  # b p h f d

    attended = F.scaled_dot_product_attention(heads(query), heads(key), heads(value))
    assert_close(actual, attended.permute(0, 3, 1, 2, 4).flatten(3))


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        ("group_norm", (random(2, 6, 8), None, torch.ones(8), torch.zeros(8), 4, 1e-6, True)),
        ("gated_gelu", (random(6, 16),)),
        ("attention_over_time", (*(random(1, 2, 3, 16) for _ in range(3)), 1)),
    ],
)
def test_operators_are_registered_rightly(operator: str, arguments: tuple[Any, ...]) -> None:
    """Shapes without values agree with the kernels', as the compiler needs."""
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        getattr(torch.ops.dispose, operator).default, arguments, test_utils=checks
    )
