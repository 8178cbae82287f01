"""The dense motion field: stored as small fixed-point numbers, rebuilt at full size.

Source: algorithm §5 (dense field), quirk Q9. Conditional motion propagation gives a flow on a
192 x 192 grid in pixels of a 384 x 384 frame. Its components are expectations over bin centres in
(-50, 50), so 16-bit fixed point with a step of ``50 / 32767`` is off by at most half a step,
0.00077 px. (float16 takes the same room and is off by up to 0.0156 px between 32 and 50.)

Networks rebuild it with torch on their device, readers of a run with NumPy alone: torch is imported
where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int16

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOW_LIMIT = 50.0
"""No component of the flow is larger than this, pixels of the 384-pixel frame."""
FIXED_POINT_STEP = FLOW_LIMIT / 32767
"""Value of one unit of the stored numbers, pixels of the 384-pixel frame."""


def to_fixed_point(flow: Float[np.ndarray, "*axes"]) -> Int16[np.ndarray, "*axes"]:
    """Flow in pixels as multiples of `FIXED_POINT_STEP`, rounded to the nearest.

    Raises:
        ValueError: A component is not finite or beyond `FLOW_LIMIT`.
    """
    values = np.asarray(flow, dtype=np.float64)
    if not bool((np.abs(values) <= FLOW_LIMIT).all()):
        msg = f"flow must be finite and within ±{FLOW_LIMIT} px"
        raise ValueError(msg)
    return np.rint(values / FIXED_POINT_STEP).astype(np.int16)


def from_fixed_point(stored: Int16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """Flow in pixels of the 384-pixel frame; undoes `to_fixed_point` up to rounding."""
    return (stored.astype(np.float64) * FIXED_POINT_STEP).astype(np.float32)


def enlarge_flow(
    flow: Float[Tensor, "t 2 rows columns"],
) -> Float[Tensor, "t 2 rows_2 columns_2"]:
    """Twice as many rows and columns, bilinear with aligned corners; values unchanged."""
    import torch.nn.functional as F

    size = (2 * flow.shape[-2], 2 * flow.shape[-1])
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=True)


def resize_flow(
    flow: Float[Tensor, "t 2 rows columns"], height: int, width: int
) -> Float[Tensor, "t 2 height width"]:
    """Flow of a ``rows x columns`` frame on ``height x width``: nearest sample, rescaled values."""
    import torch.nn.functional as F

    rows, columns = flow.shape[-2:]
    resized = F.interpolate(flow, size=(height, width), mode="nearest")
    resized[:, 0] *= width / columns
    resized[:, 1] *= height / rows
    return resized


def dense_field(
    cmp_flow_fixed: Int16[np.ndarray, "t 2 rows columns"],
    height: int,
    width: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Float[Tensor, "t 2 height width"]:
    """Rebuild the full-size field from what the ``motion`` artifact holds.

    Frames are independent: the field of a slice of frames is the slice of the field.

    Args:
        cmp_flow_fixed: `MotionField.cmp_flow` or some of its frames.
        device: Where to compute (in float32).

    Returns:
        ``(dx, dy)`` from the reference to each frame, pixels of the target.
    """
    import torch

    field = torch.empty((len(cmp_flow_fixed), 2, height, width), device=device, dtype=dtype)
    for index, stored in enumerate(cmp_flow_fixed):
        flow = torch.from_numpy(from_fixed_point(stored)).to(device)
        field[index] = resize_flow(enlarge_flow(flow[None]), height, width)[0]
    return field


def dense_field_array(
    stored: Int16[np.ndarray, "2 rows columns"], height: int, width: int
) -> Float32[np.ndarray, "2 height width"]:
    """What `dense_field` gives for one frame, up to rounding, without torch.

    Args:
        stored: A frame of `MotionField.cmp_flow`.

    Returns:
        ``(dx, dy)`` from the reference to the frame, pixels of the target.
    """
    flow = from_fixed_point(stored)
    rows, columns = (2 * size for size in flow.shape[-2:])
    field = flow
    for axis, (large, target) in ((1, (rows, height)), (2, (columns, width))):
        scale = np.float32(large) / np.float32(target)  # in float32, as torch has it
        nearest = (np.arange(target, dtype=np.float32) * scale).astype(int)
        position = nearest * ((flow.shape[axis] - 1) / (large - 1))
        low = np.minimum(position.astype(int), flow.shape[axis] - 2)
        share = np.reshape(position - low, (-1, 1) if axis == 1 else (1, -1))
        below, above = field.take(low, axis), field.take(low + 1, axis)
        field = (below * (1 - share) + above * share).astype(np.float32)
    return field * np.array([width / columns, height / rows], np.float32)[:, None, None]
