"""What changes from frame to frame: flicker, warping error, and both at the seams of tiles.

The warping error (Lai et al., 2018) compares a frame with the next one, moved back along the
optical flow, where flow there and flow back agree (Sundaram et al., 2010). Flow is OpenCV's DIS on
grey frames of half size; that is part of the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dispose_stages.score.similarity import PEAK, Pixels

FLOW_SHRINK = 2
_MIN_SIDE = 16
_SLACK_RELATIVE, _SLACK_PIXELS = 0.01, 0.5


def flicker(before: Pixels, after: Pixels) -> float:
    """Mean absolute difference of two successive frames, values in [0, 1]."""
    return float(cv2.norm(before, after, cv2.NORM_L1)) / before.size / PEAK


def warping_error(before: Pixels, after: Pixels) -> float:
    """Mean absolute difference along the flow, values in [0, 1].

    Nan where the flow is consistent nowhere, or the frame is too small for one.
    """
    first, second = _shrunk(before), _shrunk(after)
    if min(first.shape[:2]) < _MIN_SIDE:
        return math.nan
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    there, back = optical_flow(*grey), optical_flow(*reversed(grey))
    target = there + _grid(*grey[0].shape)
    moved = _looked_up(second, target)
    agreed = _consistent(there, back, target)
    if not agreed.any():
        return math.nan
    means = cv2.mean(cv2.absdiff(first, moved), agreed.view(np.uint8))
    return sum(means[:3]) / 3 / PEAK


def optical_flow(
    before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 2"]:
    """Dense flow ``(dx, dy)`` in pixels, `before` to `after`."""
    # One per call: the object keeps buffers and is shared by no two threads. Untyped, because
    # the stubs do not know that no initial flow may be given.
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(method.calc(before, after, None), dtype=np.float32)


def _shrunk(frame: Pixels) -> Pixels:
    height, width = (max(1, side // FLOW_SHRINK) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Float32[np.ndarray, "h w 2"]:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([columns, rows], axis=-1)


def _looked_up(values: np.ndarray, target: Float32[np.ndarray, "h w 2"]) -> np.ndarray:
    """Values at the points ``(x, y)``, bilinear; the border's value beyond it."""
    x, y = cv2.split(target)
    moved = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


def _consistent(
    there: Float32[np.ndarray, "h w 2"],
    back: Float32[np.ndarray, "h w 2"],
    target: Float32[np.ndarray, "h w 2"],
) -> Bool[np.ndarray, "h w"]:
    """Whether the way there and the way back end near where they began, inside the frame."""
    height, width = there.shape[:2]
    returned = _looked_up(back, target)
    gap = _squared_length(there + returned)
    length = _squared_length(there) + _squared_length(returned)
    x, y = cv2.split(target)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.asarray((gap < _SLACK_RELATIVE * length + _SLACK_PIXELS) & inside)


def _squared_length(flow: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w"]:
    """By planes: a sum over an axis of two is ten times slower."""
    x, y = cv2.split(flow)
    return np.asarray(x * x + y * y)


def tile_borders(tiles: Sequence[Sequence[int]]) -> Bool[np.ndarray, "f_minus_2"]:
    """Between which successive frames of the video the set of tiles changes.

    Args:
        tiles: Frames of every tile of the sampler. Frame 0 is the reference, which is in all of
            them and not in the video.

    Returns:
        One entry per step of the video, first to second frame first.
    """
    last = max(max(tile) for tile in tiles)
    members = np.zeros((len(tiles), last + 1), dtype=bool)
    for row, tile in enumerate(tiles):
        members[row, list(tile)] = True
    return np.asarray((members[:, 1:-1] != members[:, 2:]).any(axis=0))


@dataclass(frozen=True, slots=True)
class Seam:
    """A per-step measure across the borders of tiles.

    Attributes:
        at_borders: Mean over the steps that cross one.
        elsewhere: Mean over all others.
    """

    at_borders: float
    elsewhere: float

    @property
    def excess(self) -> float:
        """How much more there is at the borders; nan without a step of either kind."""
        return self.at_borders - self.elsewhere


def seam(steps: Float64[np.ndarray, "s"], borders: Bool[np.ndarray, "s"]) -> Seam:
    """A measure of every step, split by whether it crosses a border; nan steps do not count."""

    def mean(chosen: Bool[np.ndarray, "s"]) -> float:
        kept = steps[chosen & np.isfinite(steps)]
        return float(kept.mean()) if kept.size else math.nan

    return Seam(mean(borders), mean(~borders))
