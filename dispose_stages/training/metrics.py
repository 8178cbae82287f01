"""What an animated clip is judged by, beside the measures of `dispose_stages.score`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS
from dispose_stages.score.keypoints import WantedPose, body_extent

PCK_SHARE = 0.1
_PATCH = 2
# Between which body keypoints (134-point order) a colour is read: upper body, both thighs.
_COLOUR_LIMBS = (((1, 8), (1, 11)), ((8, 9),), ((11, 12),))


def near_wanted(
    points: Float64[np.ndarray, "f 134 2"], wanted: WantedPose
) -> Bool[np.ndarray, "f 18"]:
    """Which body keypoints lie within a tenth of the body's extent of the wanted ones (PCK@0.1).

    Args:
        points: Pixels.
        wanted: The extent is the larger side of the box around its visible body keypoints.
    """
    apart = np.linalg.norm(points - wanted.points, axis=-1)[:, BODY_KEYPOINTS]
    return np.asarray(apart <= PCK_SHARE * body_extent(wanted)[:, None])


def clothes_colours(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "134 2"],
    visible: Bool[np.ndarray, "134"],
) -> Float[np.ndarray, "3 3"]:
    """Mean RGB of upper body and thighs, in [0, 1]; nan where a keypoint is hidden.

    Args:
        image: RGB.
        points: Pixels.
        visible: Which of them count.
    """
    colours = np.full((len(_COLOUR_LIMBS), 3), np.nan)
    for index, limbs in enumerate(_COLOUR_LIMBS):
        if not all(visible[a] and visible[b] for a, b in limbs):
            continue
        middle = np.mean([(points[a] + points[b]) / 2 for a, b in limbs], axis=0)
        column, row = middle.astype(int)
        rows = slice(max(row - _PATCH, 0), row + _PATCH + 1)
        columns = slice(max(column - _PATCH, 0), column + _PATCH + 1)
        patch = image[rows, columns]
        if patch.size:
            colours[index] = patch.reshape(-1, 3).mean(axis=0) / 255
    return colours
