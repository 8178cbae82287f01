"""The floor that a body stands on, told from its feet.

Where a foot is in a picture hangs on more than the floor: one before the body is lower, as cameras
look down, one that is lifted is higher. So feet are compared in like postures only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.geometry.retarget.chain import FEET_SEEN
from dispose_stages.geometry.retarget.lengths import Points, Seen, smoothed
from dispose_stages.geometry.retarget.limbs import ANKLES, HIPS, KNEES

_LEGS = (*HIPS, *KNEES, *ANKLES)
_ALIKE = 0.25
"""Share of the driver's frames, those whose legs are most like the reference's, that are looked
at."""
_LOWEST = 0.75
"""Quantile of a foot's rows at which it stands: in the others it may be lifted."""
_LEVEL = 0.15
"""Height between two feet, in leg lengths, up to which both may stand, one before the other."""


def onto_ground(
    still: Points, still_seen: Seen, moving: Points, seen: Seen, leg: float
) -> float | None:
    """How far down a body has to go to stand on the reference's ground, pixels.

    Args:
        still: The reference, one frame.
        still_seen: Which of its points are visible.
        moving: The driver in the reference's lengths, without gaps.
        seen: Which of its points are visible.
        leg: Length of the reference's, pixels; 0 if unknown.

    Returns:
        None where the reference or too many of the driver's frames show no foot.
    """
    if not still_seen[:, ANKLES].any() or seen[:, ANKLES].any(axis=1).mean() < FEET_SEEN:
        return None
    here, there = np.asarray(still_seen[0]), np.asarray(seen.any(axis=0))
    feet, (legs, _) = _common(ANKLES, here, there), _common(_LEGS, here, there)
    near = _most_alike(still[0, legs], smoothed(moving)[:, legs])
    return _ground(still[:, feet[0]], leg) - _ground(moving[near][:, feet[1]], leg)


def _common(
    joints: Sequence[int], a: Bool[np.ndarray, "136"], b: Bool[np.ndarray, "136"]
) -> tuple[list[int], list[int]]:
    """Joints that are seen in both; where there are none, those seen in each."""
    first, second = ([joint for joint in joints if shown[joint]] for shown in (a, b))
    both = [joint for joint in first if joint in second]
    return (both, both) if both else (first, second)


def _most_alike(
    legs: Float64[np.ndarray, "k 2"], moving: Float64[np.ndarray, "f k 2"]
) -> Int64[np.ndarray, "n"]:
    """The frames whose legs are posed most like these, as they hang on their upper two joints."""
    apart = moving - moving[:, :2].mean(axis=1, keepdims=True) - (legs - legs[:2].mean(axis=0))
    away = np.linalg.norm(apart, axis=-1).mean(axis=1)
    return np.argsort(away, kind="stable")[: max(1, round(_ALIKE * len(away)))]


def _ground(feet: Float64[np.ndarray, "f k 2"], leg: float) -> float:
    """Row of the ground below the body: between two feet that both stand, at one that does.

    Args:
        feet: Ankles that count, in frames of like posture.
        leg: Length of one, pixels; 0 if unknown.
    """
    rows = np.quantile(feet[..., 1], _LOWEST, axis=0)
    apart = float(np.ptp(rows))
    level = np.exp(-0.5 * (apart / (_LEVEL * leg)) ** 2) if leg else 1.0
    return float(rows.max() - 0.5 * level * apart)


def ground_slip(moving: Points, placed: Points, seen: Seen) -> float:
    """How far the lower ankle is from where it mostly is while the driver stands, pixels.

    The mean over the half of the frames in which the driver's lower ankle is lowest; nan where too
    few show one.
    """
    shown = seen[:, ANKLES].any(axis=1)
    if shown.mean() < FEET_SEEN:
        return float("nan")
    low = np.where(seen[:, ANKLES], placed[:, ANKLES, 1], -np.inf).max(axis=1)
    line = np.quantile(low[shown], _LOWEST)
    driver = moving[:, ANKLES, 1].max(axis=1)
    standing = driver >= np.median(driver)
    return float(np.abs(placed[:, ANKLES, 1].max(axis=1) - line)[standing].mean())
