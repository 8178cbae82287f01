"""Whether the result moves as the driver does: how fast its keypoints go, and where to.

The idea of FVMD (Liu et al., 2024) on the pipeline's own keypoints, clip by clip: histograms of the
directions of velocity and acceleration over short windows, weighted by their size, compared by a
kernel (maximum mean discrepancy), which needs no covariance and so no thousands of clips.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import BODY_KEYPOINTS

WINDOW = 8
"""Frames."""
_DIRECTIONS = 8
_BANDWIDTH = 0.05
"""Of the kernel, in sides of the body's box per frame: what windows of one dance are apart."""


def movement_distance(
    found: tuple[Float64[np.ndarray, "f 134 2"], Bool[np.ndarray, "f 134"]],
    wanted: tuple[Float64[np.ndarray, "f 134 2"], Bool[np.ndarray, "f 134"]],
    extent: float,
) -> float:
    """How unlike two movements of the body are: 0 for equal ones, less than 2.

    Nan where the clip is shorter than a window.

    Args:
        found: Keypoints, pixels, and whether each is visible.
        extent: Size of the wanted body, pixels.
    """
    if len(found[0]) < WINDOW:
        return math.nan
    a, b = (_windows(points / extent, visible) for points, visible in (found, wanted))
    return max(0.0, _similarity(a, a) + _similarity(b, b) - 2 * _similarity(a, b))


def _similarity(a: Float64[np.ndarray, "n d"], b: Float64[np.ndarray, "m d"]) -> float:
    """Mean of the Gaussian kernel over all pairs of windows."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return float(np.exp(-np.maximum(squares, 0) / _BANDWIDTH**2).mean())


def _windows(
    points: Float64[np.ndarray, "f 134 2"], visible: Bool[np.ndarray, "f 134"]
) -> Float64[np.ndarray, "n d"]:
    """Histograms of every window, one frame apart."""
    points, visible = points[:, BODY_KEYPOINTS], visible[:, BODY_KEYPOINTS]
    velocity, moved = points[1:] - points[:-1], visible[1:] & visible[:-1]
    change, turned = velocity[1:] - velocity[:-1], moved[1:] & moved[:-1]
    parts = [
        _by_direction(values[start : start + length], seen[start : start + length])
        for start in range(len(points) - WINDOW + 1)
        for values, seen, length in ((velocity, moved, WINDOW - 1), (change, turned, WINDOW - 2))
    ]
    return np.reshape(parts, (len(points) - WINDOW + 1, -1))


def _by_direction(
    steps: Float64[np.ndarray, "t k 2"], seen: Bool[np.ndarray, "t k"]
) -> Float64[np.ndarray, "kd"]:
    """Mean length of each keypoint's steps into each direction."""
    turns = np.arctan2(steps[..., 1], steps[..., 0]) / (2 * np.pi)
    direction = np.floor(turns * _DIRECTIONS).astype(int) % _DIRECTIONS
    lengths = np.where(seen, np.linalg.norm(steps, axis=-1), 0.0)
    sums = [(lengths * (direction == d)).sum(axis=0) for d in range(_DIRECTIONS)]
    return np.ravel(np.array(sums) / np.maximum(seen.sum(axis=0), 1))
