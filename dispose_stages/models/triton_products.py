"""Triton matrix products with an epilogue; only `dispose_stages.models.fused` imports this.

A product's result would go to memory and come back for the operation after it; here it does not.
The candidates that are timed per shape all sum in the same order, so that which of them is fastest
on a card changes no bit of a result.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

_GROUP = tl.constexpr(8)
"""Tiles of rows that share a tile of weights while it is in the cache."""
_DEPTH_BLOCK = 64
"""Of the sum; the same for all candidates."""


def _candidate(rows: int, columns: int, warps: int, stages: int) -> triton.Config:
    return triton.Config({"BLOCK_M": rows, "BLOCK_N": columns}, num_warps=warps, num_stages=stages)


# Rows, columns (of each half), warps, stages: large tiles for cards with much shared memory, the
# last for those with 64 KB. What does not fit a card drops out by itself.
_CANDIDATES = [
    _candidate(128, 128, 8, 3),
    _candidate(256, 64, 8, 3),
    _candidate(128, 64, 4, 3),
    _candidate(64, 64, 4, 3),
    _candidate(64, 32, 4, 2),
]


@triton.autotune(
    # A single one is not timed: there is nothing to time with in the interpreter.
    configs=_CANDIDATES[-1:] if knobs.runtime.interpret else _CANDIDATES,
    key=["width", "depth", "GATED"],
    cache_results=True,
)  # type: ignore[untyped-decorator]
@triton.jit  # type: ignore[untyped-decorator]
def _product(  # type: ignore[no-untyped-def]
    x, weight, bias, residual, out, rows, width, depth, GATED: tl.constexpr, EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """``x @ weight.T + bias``, then either the gate of its halves or the sum with a residual."""
    program = tl.program_id(0)
    down, across = tl.cdiv(rows, BLOCK_M), tl.cdiv(width, BLOCK_N)
    first = program // (_GROUP * across) * _GROUP
    group = tl.minimum(down - first, _GROUP)
    within = program % (_GROUP * across)
    row = (first + within % group) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = within // group * BLOCK_N + tl.arange(0, BLOCK_N)
    step = tl.arange(0, BLOCK_K)
    # Rows and columns beyond the end compute the last one again, which is not stored.
    safe_row, safe_column = tl.minimum(row, rows - 1), tl.minimum(column, width - 1)
    left = x + safe_row.to(tl.int64)[:, None] * depth + step[None, :]
    right = weight + safe_column[None, :] * depth + step[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    gate = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, depth, BLOCK_K):
        known = step < depth - start
        if EVEN:
            a, b = tl.load(left), tl.load(right)
        else:
            a = tl.load(left, mask=known[None, :], other=0.0)
            b = tl.load(right, mask=known[:, None], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
        if GATED:
            second = right + width * depth
            c = tl.load(second) if EVEN else tl.load(second, mask=known[:, None], other=0.0)
            gate = tl.dot(a, c, gate, input_precision="ieee")
        left += BLOCK_K
        right += BLOCK_K
    total += tl.load(bias + safe_column).to(tl.float32)[None, :]
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row.to(tl.int64)[:, None] * width + column[None, :]
    if GATED:
        gate += tl.load(bias + width + safe_column).to(tl.float32)[None, :]
        total *= _gelu(gate)
    else:
        total += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gelu(x):  # type: ignore[no-untyped-def]
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


def gated_linear(rows_of: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GEGLU of ``(rows, depth)``: the first half of a linear layer times GELU of the second.

    All operands are contiguous.

    Args:
        weight: ``(2 width, depth)``.
        bias: ``(2 width,)``.
    """
    result = rows_of.new_empty((len(rows_of), len(weight) // 2))
    return _run(rows_of, weight, bias, None, result)


def linear_add(rows_of: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """A linear layer of ``(rows, depth)`` plus ``(rows, width)``; all operands are contiguous."""
    return _run(rows_of, weight, bias, residual, torch.empty_like(residual))


def _run(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, out: Tensor) -> Tensor:
    (rows, depth), width = x.shape, out.shape[1]

    def grid(chosen: dict[str, int]) -> tuple[int]:
        return (triton.cdiv(rows, chosen["BLOCK_M"]) * triton.cdiv(width, chosen["BLOCK_N"]),)

    _product[grid](
        x, weight, bias, residual, out, rows, width, depth,
        GATED=residual is None,
        EVEN=depth % _DEPTH_BLOCK == 0,
        BLOCK_K=_DEPTH_BLOCK,
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _gate(x, y, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The first half of a row times GELU of the second."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * width + column, (value * _gelu(gate)).to(y.dtype.element_ty), mask=inside)


def gated_gelu(rows_of: Tensor) -> Tensor:
    """Gate ``(rows, 2 width)``, contiguous."""
    rows, width = rows_of.shape[0], rows_of.shape[1] // 2
    result = rows_of.new_empty((rows, width))
    block = min(triton.next_power_of_2(width), 1024)
    _gate[(rows, triton.cdiv(width, block))](rows_of, result, width, BLOCK=block)
    return result
