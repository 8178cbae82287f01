"""How near an animated clip is to its driver, to the rendered truth and to its reference."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame

PCK_SHARE = 0.1
_PATCH = 2
_SSIM_SIGMA = 1.5
_SSIM_CONSTANTS = (0.01**2, 0.03**2)
# Between which body keypoints (134-point order) a colour is read: upper body, both thighs.
_COLOUR_LIMBS = (((1, 8), (1, 11)), ((8, 9),), ((11, 12),))


def correct_keypoints(
    found: Frame,
    wanted: Float[np.ndarray, "18 2"],
    visible: Bool[np.ndarray, "18"],
    asked: Bool[np.ndarray, "18"],
    aspect: float,
) -> Bool[np.ndarray, "n"]:
    """Which wanted body keypoints the best-scored person shows in the right place (PCK@0.1).

    A keypoint counts if it lies within a tenth of the larger side of the box around the visible
    wanted keypoints. One that is found with a score of 0.3 or less is missed.

    Args:
        found: Detection in the output.
        wanted: Aligned driver, normalised.
        visible: Which of them the driver shows.
        asked: For which of them an answer is wanted.
        aspect: Width over height of the image.

    Returns:
        One entry per keypoint that is asked for.
    """
    points = found.keypoints[0, BODY_KEYPOINTS]
    seen = found.scores[0, BODY_KEYPOINTS] > VISIBLE_SCORE
    near = ~far_keypoints(points, wanted, visible, aspect)
    return np.asarray((near & seen)[asked])


def far_keypoints(
    points: Float[np.ndarray, "18 2"],
    wanted: Float[np.ndarray, "18 2"],
    visible: Bool[np.ndarray, "18"],
    aspect: float,
) -> Bool[np.ndarray, "18"]:
    """Which points are farther from the wanted ones than PCK@0.1 tolerates.

    Args:
        points: Normalised.
        wanted: Likewise.
        visible: Wanted ones whose box decides the tolerance.
        aspect: Width over height of the image.
    """
    scale = np.array([aspect, 1.0])
    target = wanted * scale
    extent = float(np.ptp(target[visible], axis=0).max()) if visible.any() else 1.0
    return np.asarray(np.linalg.norm(points * scale - target, axis=1) > PCK_SHARE * extent)


def psnr(image: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"]) -> float:
    """Peak signal-to-noise ratio, dB."""
    error = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ssim(image: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"]) -> float:
    """Structural similarity of the luma, Gaussian windows of deviation 1.5 (Wang et al., 2004)."""
    x, y = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255 for i in (image, truth))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), _SSIM_SIGMA))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    a, b = _SSIM_CONSTANTS
    ratio = (2 * mx * my + a) * (2 * cov + b) / ((mx * mx + my * my + a) * (vx + vy + b))
    return float(ratio.mean())


def clothes_colours(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "18 2"],
    visible: Bool[np.ndarray, "18"],
) -> Float[np.ndarray, "3 3"]:
    """Mean RGB of upper body and thighs, in [0, 1]; nan where a keypoint is hidden.

    Args:
        image: RGB.
        points: Body keypoints in 134-point order, normalised.
        visible: Which of them count.
    """
    height, width = image.shape[:2]
    colours = np.full((len(_COLOUR_LIMBS), 3), np.nan)
    for index, limbs in enumerate(_COLOUR_LIMBS):
        if not all(visible[a] and visible[b] for a, b in limbs):
            continue
        middle = np.mean([(points[a] + points[b]) / 2 for a, b in limbs], axis=0)
        column, row = (middle * [width, height]).astype(int)
        rows = slice(max(row - _PATCH, 0), row + _PATCH + 1)
        columns = slice(max(column - _PATCH, 0), column + _PATCH + 1)
        patch = image[rows, columns]
        if patch.size:
            colours[index] = patch.reshape(-1, 3).mean(axis=0) / 255
    return colours
