"""Keypoints of the world as the pose stage would report them: its layout, its noise, its gaps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.training.world.scene import OUTSIDE, VISIBLE

_NOISE = 0.006
"""Deviation of a detected body keypoint from the truth, fraction of the figure's height."""
_DETAIL = 0.5
"""The same for face and hands, relative to the body's."""
_MISSED, _MISSED_OCCLUDED = 0.01, 0.15
"""Share of keypoints that are not found."""


def observed_poses(
    keypoints: Float[np.ndarray, "f 133 3"],
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    noise: float = _NOISE,
) -> tuple[Float64[np.ndarray, "f 134 2"], Float64[np.ndarray, "f 134"]]:
    """Normalised points and scores in 134-point order, one person per frame.

    Args:
        keypoints: ``x, y, flag`` in pixels of the truth.
        rng: Decides noise and gaps.
        noise: Deviation, fraction of the figure's height; 0 gives the truth with full scores.
    """
    points, flags = keypoints[..., :2].astype(np.float64), keypoints[..., 2]
    body = points[:, :17]
    extent = float(np.ptp(body[..., 1], axis=1).mean())
    deviation = np.full((1, 133, 1), noise * extent)
    deviation[:, 23:] *= _DETAIL
    points = points + deviation * rng.standard_normal(points.shape)
    scores = np.ones(flags.shape)
    if noise > 0:
        low = np.where(flags == VISIBLE, 0.7, 0.4)
        scores = rng.uniform(low, 1.0)
        missed = np.where(flags == VISIBLE, _MISSED, _MISSED_OCCLUDED)
        scores[rng.uniform(size=flags.shape) < missed] *= 0.3
    scores[flags == OUTSIDE] = 0.1
    return to_openpose(points / [width, height], scores)
