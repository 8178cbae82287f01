"""The Triton kernels in Triton's interpreter beside PyTorch; no GPU needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from triton.runtime.errors import OutOfResources

from dispose_stages.faults import is_out_of_memory
from dispose_stages.models import fused, triton_kernels, triton_products
from dispose_stages.models.transformer import SpatialLayer, TemporalLayer, pack_projections

ROUNDING = {torch.float32: 2e-6, torch.float16: 1.5e-3, torch.bfloat16: 1.2e-2}
"""Of the largest value: a few units in the last place of the type."""


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def operations() -> dict[str, tuple[Any, ...]]:
    """Arguments of every operator."""
    return {
        "group_norm": (random(2, 6, 8), random(2, 8), torch.ones(8), torch.zeros(8), 4, 1e-6, True),
        "gated_gelu": (random(6, 16),),
        "gated_linear": (random(6, 8), random(10, 8), random(10)),
        "linear_add": (random(6, 8), random(5, 8), random(5), random(6, 5)),
        "attention_over_time": (random(1, 2, 3, 48), 2),
    }


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


# The interpreter holds bfloat16 as integers and multiplies these.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("rows", "depth", "width"), [(1, 1, 1), (70, 64, 40), (65, 130, 33), (600, 32, 65)]
)
def test_products_with_an_epilogue(dtype: torch.dtype, rows: int, depth: int, width: int) -> None:
    """Gate and residual in the product, at sizes that no tile divides."""
    hidden, residual = random(rows, depth, dtype=dtype), random(rows, width, seed=1, dtype=dtype)
    weight, bias = random(2 * width, depth, seed=2, dtype=dtype), random(2 * width, dtype=dtype)
    value, gate = F.linear(hidden.double(), weight.double(), bias.double()).chunk(2, dim=-1)
    assert_close(fused.gated_linear(hidden, weight, bias), value * F.gelu(gate))
    first, start = weight[:width], bias[:width]
    assert_close(fused.linear_add(hidden, first, start, residual), value + residual.double())


def test_a_products_epilogue_keeps_axes() -> None:
    """Leading axes of any number and layout come back as they were."""
    hidden, residual = random(2, 3, 5, 8).transpose(1, 2), random(2, 5, 3, 4)
    weight, bias = random(8, 8), random(8)
    assert fused.gated_linear(hidden, weight, bias).shape == (2, 5, 3, 4)
    added = fused.linear_add(hidden, weight[:4], bias[:4], residual)
    assert_close(added, (F.linear(hidden, weight[:4], bias[:4]) + residual).double())


def test_a_kernel_that_cannot_be_made_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each operator has PyTorch's operations to fall back on; this is said once."""

    def broken(*_: Any, **__: Any) -> Tensor:
        raise OutOfResources(300_000, 101_376, "shared memory")

    monkeypatch.setattr(fused, "_failures", {})
    calls = operations()
    expected = {name: getattr(torch.ops.dispose, name)(*a) for name, a in calls.items()}
    for module in (triton_kernels, triton_products):
        for name in calls.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, broken)
    for name, arguments in calls.items():
        for _ in range(2):
            assert_close(getattr(torch.ops.dispose, name)(*arguments), expected[name].double())
    assert fused._failures.keys() == calls.keys()
    assert "shared memory" in fused.so_far()
    assert len(caplog.messages) == len(calls)


def test_errors_of_a_launch_are_no_reason_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that ran out goes on to the memory ladder."""

    def exhausted(*_: Any) -> Tensor:
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(fused, "_failures", {})
    monkeypatch.setattr(triton_products, "gated_gelu", exhausted)
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        fused.gated_gelu(random(2, 4))
    assert is_out_of_memory(caught.value)
    assert fused.so_far() == "yes"


@pytest.mark.parametrize("dtype", ROUNDING)
def test_gated_gelu(dtype: torch.dtype) -> None:
    """The exact GELU, not its tanh."""
    projected = random(2, 5, 2 * 40, dtype=dtype) * 2
    value, gate = projected.double().chunk(2, dim=-1)
    assert_close(fused.gated_gelu(projected), value * F.gelu(gate))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("frames", [1, 5, 16, 17])
def test_attention_over_time(dtype: torch.dtype, frames: int) -> None:
    """Any number of frames, each position and head for itself."""
    packed = random(2, frames, 3, 3 * 2 * 8, dtype=dtype)
    query, key, value = packed.chunk(3, dim=-1)
    actual = fused.attention_over_time(packed, 2)

    def heads(x: Tensor) -> Tensor:
        return x.double().unflatten(-1, (2, 8)).permute(0, 2, 3, 1, 4)  # b p h f d

    attended = F.scaled_dot_product_attention(heads(query), heads(key), heads(value))
    assert_close(actual, attended.permute(0, 3, 1, 2, 4).flatten(3))


@torch.inference_mode()
@pytest.mark.parametrize("kind", [SpatialLayer, TemporalLayer])
def test_layers_use_the_kernels_rightly(
    kind: type[SpatialLayer | TemporalLayer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer's layer in float16 with every kernel, beside its plain form in float32."""
    torch.manual_seed(0)
    layer = kind(32, 2, 16).eval()
    shape = (4, 6, 32) if kind is SpatialLayer else (2, 3, 6, 32)
    hidden = random(*shape)
    context = random(2, 32, seed=1) if kind is SpatialLayer else random(2, 1, 32, seed=1)
    expected = layer(hidden, context)
    pack_projections(layer)
    monkeypatch.setattr(fused, "applies", lambda _: True)
    called = []
    for name in ("gated_linear", "linear_add"):
        run = getattr(triton_products, name)
        monkeypatch.setattr(
            triton_products, name, lambda *a, n=name, f=run: (called.append(n), f(*a))[1]
        )
    actual = layer.half()(hidden.half(), context.half())
    assert {"gated_linear", "linear_add"} <= set(called)
    assert (actual - expected).abs().max() <= 4e-3 * expected.abs().max()


@pytest.mark.parametrize(("operator", "arguments"), operations().items())
def test_operators_are_registered_rightly(operator: str, arguments: tuple[Any, ...]) -> None:
    """Shapes without values agree with the kernels', as the compiler needs."""
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        getattr(torch.ops.dispose, operator).default, arguments, test_utils=checks
    )


def test_a_clip_in_full_size_fits_cudas_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA launches at most 65,535 programs on any axis of a grid but the first."""
    grids: list[tuple[int, ...]] = []

    class Recorded:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            grids.append(grid)
            return lambda *_, **__: None

    for kernel in ("_partial_statistics", "_affine_of_groups", "_apply_affine"):
        monkeypatch.setattr(triton_kernels, kernel, Recorded())
    clip = torch.empty(1, 8 * 576 * 1024, 128, device="meta")
    scale = torch.empty(128, device="meta")
    triton_kernels.group_norm(clip, None, scale, scale, 32, 1e-6, silu=True)
    assert len(grids) == 3
    assert max(size for grid in grids for size in grid[1:]) <= 65_535
