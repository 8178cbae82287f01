"""Proportions of a body as it is seen, by which persons are told apart whatever they wear.

A limb is as long as the longer of its two sides, which points less at the camera; what postures
leave of that in a mean over frames decides how much a difference says.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

Lengths = Float64[np.ndarray, "*n 6"]

_ENDS = np.array(
    [
        [(1, 8), (1, 11)],
        [(0, 1), (0, 1)],
        [(2, 3), (5, 6)],
        [(3, 4), (6, 7)],
        [(8, 9), (11, 12)],
        [(9, 10), (12, 13)],
    ]
)
"""Trunk, head, upper arm, forearm, thigh and shin; right and left."""
_POSTURE = np.array([0.015, 0.04, 0.03, 0.05, 0.03, 0.02])
"""By which the mean logarithm of each one's length differs between parts of a walk."""
_NOISE = 0.06
"""By which a single sighting is off besides."""


def measured_limbs(
    points: Float64[np.ndarray, "*n 18 2"], seen: Bool[np.ndarray, "*n 18"]
) -> Float64[np.ndarray, "*n 3 6"]:
    """Logarithms of a body's lengths, their squares, and 1 where there is one.

    All three add up over sightings.

    Args:
        points: Body keypoints, pixels.
        seen: Which of them are visible.
    """
    first, second = points[..., _ENDS[..., 0], :], points[..., _ENDS[..., 1], :]
    lengths = np.linalg.norm(first - second, axis=-1) * seen[..., _ENDS].all(axis=-1)
    longer = np.maximum(lengths.max(axis=-1), 1.0)
    logarithm = np.log(longer)
    return np.stack([logarithm, logarithm**2, (longer > 1.0).astype(np.float64)], axis=-2)


def unlike(
    limbs: Float64[np.ndarray, "*n 3 6"], others: Float64[np.ndarray, "*n 3 6"]
) -> Float64[np.ndarray, "*n"]:
    """Cost of two bodies being one; a limb that is off by far says little more than one by much.

    Args:
        limbs: Sums of `measured_limbs`.
        others: The same of who may be the same.
    """
    (mean, varied, count), (other_mean, other_varied, other_count) = map(_moments, (limbs, others))
    apart = np.where((count > 0) & (other_count > 0), mean - other_mean, 0.0)
    noise = _NOISE**2 * (1 / np.maximum(count, 1) + 1 / np.maximum(other_count, 1))
    spread = _POSTURE**2 + noise + varied + other_varied
    return np.asarray(np.log1p(0.5 * apart**2 / spread).sum(axis=-1))


def _moments(limbs: Float64[np.ndarray, "*n 3 6"]) -> tuple[Lengths, Lengths, Lengths]:
    """Mean, variance beyond noise (limbs that move about tell less), and how often seen."""
    total, squares, count = np.moveaxis(limbs, -2, 0)
    often = np.maximum(count, 1.0)
    mean = total / often
    return mean, np.maximum(squares / often - mean**2 - _NOISE**2, 0.0), count
