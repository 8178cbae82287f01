"""The sparse motion field: keypoint displacements spread by a Gaussian.

Source: algorithm §5 (trajectory field). The original filters a mostly empty image with a 199 x 199
Gaussian. A Gaussian is a product of two one-dimensional ones, also at reflected borders, so every
displacement adds ``column weights x row weights`` and the field of a frame is one small matrix
product: the same numbers for a hundredth of the arithmetic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from dispose_stages.config import Compat
from dispose_stages.geometry.tracks import Impulses, frame_to_frame, pixel_track

KERNEL_SIZE = 199
"""Width of the square Gaussian, pixels."""
SIGMA = 20.0
"""Its standard deviation, pixels."""


def gaussian_weights(size: int = KERNEL_SIZE, sigma: float = SIGMA) -> Float64[np.ndarray, "size"]:
    """One-dimensional Gaussian of sum 1; the centre of an even size is left of the middle."""
    offsets = np.arange(size, dtype=np.float64) - (size - 1) // 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=4)
def spread_weights(length: int) -> Float64[np.ndarray, "length length"]:
    """How much pixel ``q`` (row) of a line contributes to the filtered pixel ``p`` (column).

    Borders are reflected without repeating the edge, as often as the kernel needs when it is
    longer than the line. Kept for the sizes of late (8 MB for 1024 pixels), because a clip asks
    for every chunk of frames; not to be written to.
    """
    reach = KERNEL_SIZE // 2
    taps = np.arange(length)[:, None] + np.arange(-reach, KERNEL_SIZE - reach)[None, :]
    period = max(2 * (length - 1), 1)
    folded = np.abs(taps) % period
    source = np.minimum(folded, period - folded)
    matrix = np.zeros((length, length))
    target = np.broadcast_to(np.arange(length)[:, None], taps.shape)
    weights = np.broadcast_to(gaussian_weights(), taps.shape)
    np.add.at(matrix, (source, target), weights)
    matrix.flags.writeable = False
    return matrix


def trajectory_field(
    points: Float64[np.ndarray, "f k 2"],
    visible: Bool[np.ndarray, "f k"],
    height: int,
    width: int,
    *,
    compat: Compat,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Float[Tensor, "f_minus_1 2 height width"]:
    """Frame-to-frame displacement of the keypoints, spread by the Gaussian.

    Entry ``i`` depends on frames ``i`` and ``i + 1`` alone: a tile's field is that of its frames.

    Args:
        points: Normalised ``(x, y)`` of the driving person, reference first.
        visible: Whether each keypoint counts.
        compat: ``official`` or ``corrected`` (Q7).
        device: Where to compute; sums are float64 everywhere.

    Returns:
        ``(dx, dy)`` in pixels of the target, scaled by the Gaussian's weights.
    """
    track = pixel_track(points, visible, height, width)
    impulses = frame_to_frame(track, visible, compat=compat)
    return spread(impulses, height, width, device=device, dtype=dtype)


def spread(
    impulses: Impulses,
    height: int,
    width: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Float[Tensor, "t 2 height width"]:
    """Filter an image of impulses with the Gaussian, frame by frame.

    Args:
        impulses: From `frame_to_frame`.
        dtype: Of the result; sums are float64 and only one frame is held in float64.
    """
    kept = np.where(impulses.written[..., None], impulses.displacement, 0.0)
    # One transfer each, so that the loop below never waits for the device.
    down = torch.from_numpy(spread_weights(height)[impulses.rows]).to(device)
    across = torch.from_numpy(spread_weights(width)[impulses.columns]).to(device)
    moves = torch.from_numpy(kept).to(device)
    frames = len(impulses)
    field = torch.empty((frames, 2, height, width), device=device, dtype=dtype)
    buffer = torch.empty((2 * height, width), device=device, dtype=torch.float64)
    for index in range(frames):
        # The product has the same shape for every frame, hence the same bits in any slice.
        vertical = moves[index].T[:, :, None] * down[index]
        torch.mm(vertical.transpose(1, 2).reshape(2 * height, -1), across[index], out=buffer)
        field[index] = buffer.view(2, height, width)
    return field
