"""Triton kernels of the diffusion networks; only `dispose_stages.models.fused` imports this.

Rows are positions (of frames, or of a clip), channels are contiguous within a row. All sums are
float32 and in a fixed order, so that a result repeats bit for bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 8192
"""Elements of one tile."""
_CHUNKS = 128
"""At most so many partial statistics per image."""


@triton.jit  # type: ignore[untyped-decorator]
def _partial_statistics(  # type: ignore[no-untyped-def]
    x, means, squares, positions, channels, rows, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Mean and sum of squared deviations of every channel over a chunk of positions."""
    image, chunk = tl.program_id(0), tl.program_id(1)
    column = tl.arange(0, BLOCK_C)
    first = chunk * rows
    last = tl.minimum(first + rows, positions)
    mean = tl.zeros((BLOCK_C,), tl.float32)
    square = tl.zeros((BLOCK_C,), tl.float32)
    seen = 0.0
    for start in range(first, last, BLOCK_P):
        row = start + tl.arange(0, BLOCK_P)
        inside = (row < last)[:, None] & (column < channels)[None, :]
        offset = (image.to(tl.int64) * positions + row[:, None]) * channels + column[None, :]
        tile = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
        count = tl.minimum(last - start, BLOCK_P).to(tl.float32)
        tile_mean = tl.sum(tile, axis=0) / count
        deviation = tl.where(inside, tile - tile_mean[None, :], 0.0)
        difference = tile_mean - mean
        total = seen + count
        square += tl.sum(deviation * deviation, axis=0)
        square += difference * difference * (seen * count / total)
        mean += difference * (count / total)
        seen = total
    place = (image * tl.num_programs(1) + chunk) * channels + column
    tl.store(means + place, mean, mask=column < channels)
    tl.store(squares + place, square, mask=column < channels)


@triton.jit  # type: ignore[untyped-decorator]
def _affine_of_groups(  # type: ignore[no-untyped-def]
    means, squares, shift, weight, bias, scales, offsets, positions, channels, rows, chunks, eps,
    SHIFTED: tl.constexpr, MEMBERS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Statistics of a group, as the factor and the summand that normalise each of its channels."""
    image, group = tl.program_id(0), tl.program_id(1)
    member = tl.arange(0, BLOCK_M)
    channel = group * MEMBERS + member
    own = member < MEMBERS
    moved = tl.zeros((BLOCK_M,), tl.float32)
    if SHIFTED:
        moved = tl.load(shift + image * channels + channel, mask=own, other=0.0).to(tl.float32)
    chunk = tl.arange(0, BLOCK_K)
    place = (image * chunks + chunk[:, None]) * channels + channel[None, :]
    inside = (chunk < chunks)[:, None] & own[None, :]
    count = tl.maximum(tl.minimum(positions - chunk * rows, rows), 0).to(tl.float32)[:, None]
    mean_of = tl.load(means + place, mask=inside, other=0.0) + moved[None, :]
    size = positions * MEMBERS * 1.0
    mean = tl.sum(tl.sum(tl.where(inside, mean_of * count, 0.0), axis=1), axis=0) / size
    deviation = mean_of - mean
    square = tl.load(squares + place, mask=inside, other=0.0) + deviation * deviation * count
    variance = tl.sum(tl.sum(tl.where(inside, square, 0.0), axis=1), axis=0) / size
    scale = tl.load(weight + channel, mask=own, other=0.0).to(tl.float32)
    scale = scale / tl.sqrt(variance + eps)
    offset = tl.load(bias + channel, mask=own, other=0.0).to(tl.float32) + (moved - mean) * scale
    tl.store(scales + image * channels + channel, scale, mask=own)
    tl.store(offsets + image * channels + channel, offset, mask=own)


@triton.jit  # type: ignore[untyped-decorator]
def _apply_affine(  # type: ignore[no-untyped-def]
    x, scales, offsets, y, positions, channels,
    SILU: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``x * scale + offset`` per image and channel, with SiLU on request."""
    image = tl.program_id(1)
    row = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    column = tl.arange(0, BLOCK_C)
    known = column < channels
    inside = (row < positions)[:, None] & known[None, :]
    place = (image.to(tl.int64) * positions + row[:, None]) * channels + column[None, :]
    scale = tl.load(scales + image * channels + column, mask=known, other=0.0)
    offset = tl.load(offsets + image * channels + column, mask=known, other=0.0)
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value = value * scale[None, :] + offset[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


def group_norm(
    rows_of: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    *,
    silu: bool,
) -> Tensor:
    """Group normalisation of ``(n, positions, channels)``, contiguous."""
    images, positions, channels = rows_of.shape
    width = triton.next_power_of_2(channels)
    tall = max(1, _TILE // width)
    rows = max(tall, triton.cdiv(positions, _CHUNKS))
    chunks = triton.cdiv(positions, rows)
    means = torch.empty((images, chunks, channels), device=rows_of.device, dtype=torch.float32)
    squares = torch.empty_like(means)
    scales = torch.empty((images, channels), device=rows_of.device, dtype=torch.float32)
    offsets, result = torch.empty_like(scales), torch.empty_like(rows_of)
    _partial_statistics[(images, chunks)](
        rows_of, means, squares, positions, channels, rows, BLOCK_P=tall, BLOCK_C=width
    )
    members = channels // groups
    _affine_of_groups[(images, groups)](
        means, squares, weight if shift is None else shift, weight, bias, scales, offsets,
        positions, channels, rows, chunks, eps,
        SHIFTED=shift is not None,
        MEMBERS=members,
        BLOCK_M=triton.next_power_of_2(members),
        BLOCK_K=triton.next_power_of_2(chunks),
    )  # fmt: skip
    # Of a grid's axes only the first has room for a clip: CUDA ends the others at 65,535.
    _apply_affine[(triton.cdiv(positions, tall), images)](
        rows_of, scales, offsets, result, positions, channels,
        SILU=silu, BLOCK_P=tall, BLOCK_C=width,
    )  # fmt: skip
    return result


@triton.jit  # type: ignore[untyped-decorator]
def _attend_over_time(  # type: ignore[no-untyped-def]
    packed, out, frames, positions, channels, factor,
    DEPTH: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """All frames of one position and head at once."""
    position, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    frame, depth = tl.arange(0, BLOCK_F), tl.arange(0, BLOCK_D)
    row = (batch.to(tl.int64) * frames + frame) * positions + position
    inside = (frame < frames)[:, None] & (depth < DEPTH)[None, :]
    column = head * DEPTH + depth[None, :]
    place = packed + row[:, None] * 3 * channels + column
    query = tl.load(place, mask=inside, other=0.0)
    key = tl.load(place + channels, mask=inside, other=0.0)
    value = tl.load(place + 2 * channels, mask=inside, other=0.0)
    # Real float32 products: tensor cores would round float32 operands.
    logits = tl.dot(query, tl.trans(key), input_precision="ieee") * factor
    logits = tl.where((frame < frames)[None, :], logits, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    weights = weights / tl.sum(weights, axis=1)[:, None]
    result = tl.dot(weights.to(value.dtype), value, input_precision="ieee")
    place = out + row[:, None] * channels + column
    tl.store(place, result.to(out.dtype.element_ty), mask=inside)


def attention_over_time(packed: Tensor, heads: int) -> Tensor:
    """Attention over the second axis of ``(batch, frames, positions, 3 channels)``, contiguous.

    The last axis holds query, key and value one after the other.
    """
    batch, frames, positions, width = packed.shape
    channels = width // 3
    depth = channels // heads
    result = packed.new_empty((batch, frames, positions, channels))
    _attend_over_time[(positions, heads, batch)](
        packed, result, frames, positions, channels, depth**-0.5,
        DEPTH=depth,
        BLOCK_F=max(16, triton.next_power_of_2(frames)),
        BLOCK_D=max(16, triton.next_power_of_2(depth)),
    )  # fmt: skip
    return result
