"""What an animated clip is judged by, beside the measures of `dispose_stages.score`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS
from dispose_stages.score.keypoints import WantedPose, body_extent

PCK_SHARE = 0.1
_PATCH = 2
# Between which body keypoints (134-point order) a colour is read: upper body, both thighs.
_COLOUR_LIMBS = (((1, 8), (1, 11)), ((8, 9),), ((11, 12),))

_LIMBS = [
    [f"0/{side}_{part}" for part in parts]
    for side in ("left", "right")
    for parts in (("upper_arm", "forearm", "hand"), ("thigh", "shin", "foot"))
]
"""Layers of arms and legs of a scene's first figure."""
_FEWEST = 16
"""Pixels of a region whose mean colour is looked at."""

Mask = Bool[np.ndarray, "h w"]


def near_wanted(
    points: Float64[np.ndarray, "f 134 2"], wanted: WantedPose
) -> Bool[np.ndarray, "f 18"]:
    """Which body keypoints lie within a tenth of the body's extent of the wanted ones (PCK@0.1).

    Args:
        wanted: The extent is the larger side of the box around its visible body keypoints.
    """
    apart = np.linalg.norm(points - wanted.points, axis=-1)[:, BODY_KEYPOINTS]
    return np.asarray(apart <= PCK_SHARE * body_extent(wanted)[:, None])


def clothes_colours(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "134 2"],
    visible: Bool[np.ndarray, "134"],
) -> Float[np.ndarray, "3 3"]:
    """Mean RGB of upper body and thighs, in [0, 1]; nan where a keypoint is hidden."""
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


def figure_regions(covered: Mapping[str, Mask]) -> tuple[Mask, list[Mask], list[Mask]]:
    """Where a figure is seen, where each of its limbs is, and where each hides another limb.

    Args:
        covered: What each layer covers, from back to front (`Scene.covered`).
    """
    figure, seen = np.zeros_like(next(iter(covered.values()))), {}
    for name, mask in reversed(list(covered.items())):
        seen[name] = mask & ~figure
        figure |= mask
    shown, whole = (
        [np.any([masks[name] for name in limb], axis=0) for limb in _LIMBS]
        for masks in (seen, covered)
    )
    return (
        figure,
        shown,
        [
            limb & np.any(whole[:index] + whole[index + 1 :], axis=0)
            for index, limb in enumerate(shown)
        ],
    )


def colour_errors(
    image: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"], regions: Iterable[Mask]
) -> list[float]:
    """Mean absolute difference of each region's mean RGB, in [0, 1]; small regions are left out."""
    return [
        float(np.abs(image[region].mean(axis=0) - truth[region].mean(axis=0)).mean() / 255)
        for region in regions
        if region.sum() >= _FEWEST
    ]
