"""The driver's way from joint to joint, at other lengths, and where its body then stands."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float64

from dispose_stages.geometry.retarget.lengths import Points, Seen, smoothed
from dispose_stages.geometry.retarget.limbs import (
    ANKLES,
    CHAIN,
    CHIN,
    HEAD,
    HIPS,
    KNEES,
    NAMES,
    NASION,
    NECK,
    PELVIS,
)

FEET_SEEN = 0.3
"""Share of the frames that must show an ankle for the body to be put on the ground."""
_FACE, _FACE_WIDTH = NAMES.index("head"), NAMES.index("face width")


def scale_limbs(points: Points, ratios: Float64[np.ndarray, "l"]) -> Points:
    """Every point relative to the pelvis, each limb's own share of the way scaled by its ratio."""
    out = np.zeros_like(points)
    for parent, child, limb in CHAIN:
        if limb != _FACE:
            out[:, child] = out[:, parent] + ratios[limb] * (points[:, child] - points[:, parent])
    face = [child for _, child, limb in CHAIN if limb == _FACE]
    offset = points[:, face] - points[:, [HEAD]]
    down = smoothed(points[:, CHIN] - points[:, NASION])
    down = (down / np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-9))[:, None]
    along = (offset * down).sum(axis=-1, keepdims=True) * down
    scaled = ratios[_FACE] * along + ratios[_FACE_WIDTH] * (offset - along)
    out[:, face] = out[:, [HEAD]] + scaled
    return out


def root_path(
    points: Points, seen: Seen, scaled: Points, ratios: Float64[np.ndarray, "l"]
) -> Float64[np.ndarray, "f 2"]:
    """Where the pelvis goes, up to a constant: the driver's path in the reference's leg lengths.

    Where ankles are seen, the lower one keeps to the ground as the driver's does. The correction is
    smooth, so that a detector's noise stays the noise of single keypoints. Where hips are unseen
    the neck's path counts instead.
    """
    leg = _leg_ratio(points, ratios)
    if seen[:, ANKLES].any(axis=1).mean() >= FEET_SEEN:
        path = leg * points[:, PELVIS]
        low = leg * (points[:, ANKLES, 1].max(axis=1) - points[:, PELVIS, 1])
        path[:, 1] += smoothed(low - scaled[:, ANKLES, 1].max(axis=1))
        return path
    if seen[:, PELVIS].any():
        return np.asarray(leg * points[:, PELVIS])
    return np.asarray(leg * points[:, NECK] - scaled[:, NECK])


def _leg_ratio(points: Points, ratios: Float64[np.ndarray, "l"]) -> float:
    joints = (HIPS, KNEES, ANKLES)
    thigh, shin = (
        float(np.linalg.norm(points[:, lower] - points[:, upper], axis=-1).max())
        for upper, lower in itertools.pairwise(joints)
    )
    names = NAMES.index("thigh"), NAMES.index("shin")
    longer, shorter = ratios[names[0]], ratios[names[1]]
    return float((thigh * longer + shin * shorter) / max(thigh + shin, 1e-9))
