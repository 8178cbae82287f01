"""Features of the reference at its keypoints.

Source: algorithm §6, quirk Q2. The original resizes the whole map to full size with rows and
columns swapped and reads 18 points of it; here only these points are interpolated.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor


def keypoint_embedding(
    feature_map: Float[Tensor, "c h w"],
    points: Float64[np.ndarray, "k 2"],
    visible: Bool[np.ndarray, "k"],
    height: int,
    width: int,
) -> Float[Tensor, "k c"]:
    """Feature per keypoint, zero where it is invisible.

    The map is thought of as enlarged bilinearly (half-pixel centres) to `width` rows and `height`
    columns, and keypoint ``(x, y)`` read at column ``int(x * height)``, row ``int(y * width)``,
    both clipped. Height and width are swapped, and the weights were trained with it (Q2).

    Args:
        feature_map: 1/16 of the image.
        points: Normalised ``(x, y)`` in the reference.
        visible: Whether each keypoint counts.
        height: Of the image, pixels.
    """
    columns = np.clip((points[:, 0] * height).astype(np.int64), 0, height - 1)
    rows = np.clip((points[:, 1] * width).astype(np.int64), 0, width - 1)
    left, right, across = _neighbours(columns, feature_map.shape[2], height)
    above, below, down = _neighbours(rows, feature_map.shape[1], width)
    across, down = across.to(feature_map), down.to(feature_map)
    upper = feature_map[:, above, left] * (1 - across) + feature_map[:, above, right] * across
    lower = feature_map[:, below, left] * (1 - across) + feature_map[:, below, right] * across
    values = upper * (1 - down) + lower * down
    shown = torch.from_numpy(np.asarray(visible)).to(values.device)
    return torch.where(shown, values, torch.zeros_like(values)).T.contiguous()


def _neighbours(
    targets: Int64[np.ndarray, "k"], source: int, enlarged: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Both source samples of an enlarged line's pixels, and the weight of the second."""
    position = np.maximum((targets + 0.5) * (source / enlarged) - 0.5, 0.0)
    first = np.minimum(position.astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    weight = position - first
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(weight)
