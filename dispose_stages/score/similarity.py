"""How like the truth a frame is: L1, PSNR, SSIM and MS-SSIM by their published definitions.

Frames are 8-bit RGB. SSIM (Wang et al., 2004) takes Gaussian windows of deviation 1.5 that lie
inside the image, per channel; MS-SSIM (Wang et al., 2003) five of its scales, halved by 2 x 2
means. Filters run in OpenCV, in one pass for both: scikit-image and torchmetrics need ten times as
long for the same numbers (docs/decisions/0008-own-metrics.md).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

Pixels = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

PEAK = 255.0
EQUAL_PSNR = 100.0
"""What equal frames get, and no frame more; the ratio itself is infinite there."""
WINDOW = 11
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA = 1.5
_STRIP = 48
"""Rows of windows at a time, so that what is in work stays in the cache (twice as fast)."""
_LUMINANCE, _CONTRAST = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def l1(result: Pixels, truth: Pixels, mask: Mask | None = None) -> float:
    """Mean absolute difference of values in [0, 1]; nan where the mask holds nothing."""
    if mask is None:
        return float(cv2.norm(result, truth, cv2.NORM_L1)) / result.size / PEAK
    return _masked_mean(cv2.absdiff(result, truth), mask) / PEAK


def psnr(result: Pixels, truth: Pixels, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio over all channels, dB, at most `EQUAL_PSNR`."""
    if mask is None:
        error = float(cv2.norm(result, truth, cv2.NORM_L2SQR)) / result.size
    else:
        error = _masked_mean(cv2.absdiff(result, truth).astype(np.float32) ** 2, mask)
    if error <= 0:
        return EQUAL_PSNR
    return min(EQUAL_PSNR, 10 * math.log10(PEAK**2 / error))


def _masked_mean(values: np.ndarray, mask: Mask) -> float:
    kept = values[mask]
    return float(kept.mean(dtype=np.float64)) if kept.size else math.nan


def structural_similarity(
    result: Pixels, truth: Pixels, mask: Mask | None = None
) -> tuple[float, float]:
    """SSIM and MS-SSIM.

    Args:
        result: Frame.
        truth: Of the same size.
        mask: Only windows that lie in it count.

    Returns:
        Both values; nan where no window fits (MS-SSIM needs 176 pixels on either side).
    """
    total = result.astype(np.float32) + truth - np.float32(PEAK)
    difference = result.astype(np.float32) - truth
    contrasts: list[float] = []
    similarity = first = math.nan
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            total, difference = _halved(total), _halved(difference)
            mask = None if mask is None else _halved(mask.astype(np.float32)) >= 1
        if min(total.shape[:2]) < WINDOW:
            return first, math.nan
        similarity, contrast = _window_means(total, difference, mask)
        contrasts.append(contrast)
        first = similarity if scale == 0 else first
    factors = [*contrasts[:-1], similarity]
    powers = [max(f, 0.0) ** w for f, w in zip(factors, SCALE_WEIGHTS, strict=True)]
    return first, math.nan if any(math.isnan(f) for f in factors) else math.prod(powers)


def _halved(values: Float32[np.ndarray, "h w *c"]) -> Float32[np.ndarray, "h2 w2 *c"]:
    """Means of 2 x 2 values; an odd last row or column is left out."""
    height, width = values.shape[0] // 2, values.shape[1] // 2
    even = values[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))


def _window_means(
    total: Float32[np.ndarray, "h w 3"],
    difference: Float32[np.ndarray, "h w 3"],
    mask: Mask | None,
) -> tuple[float, float]:
    """Mean of SSIM and of its contrast term over all windows; nan where the mask holds none."""
    inside = None if mask is None else _inside(mask)
    sums, windows = np.zeros(2), 0
    for top in range(0, len(total) - WINDOW + 1, _STRIP):
        rows = slice(top, top + _STRIP + WINDOW - 1)
        maps = _window_maps(total[rows], difference[rows])
        if inside is not None:
            chosen = inside[top : top + _STRIP]
            maps = tuple(values[chosen] for values in maps)
        sums += [values.sum(dtype=np.float64) for values in maps]
        windows += maps[0].size
    similarity, contrast = (sums / windows if windows else np.full(2, math.nan)).tolist()
    return similarity, contrast


def _window_maps(
    total: Float32[np.ndarray, "h w 3"], difference: Float32[np.ndarray, "h w 3"]
) -> tuple[np.ndarray, ...]:
    """SSIM and its contrast term of every window.

    Four filters instead of five: with ``s = x + y`` and ``d = x - y`` the product of means is
    ``(mean(s)² - mean(d)²) / 4``, and so on; the sum is centred, so float32 is exact enough.
    """
    mean_s, mean_d = _blurred(total), _blurred(difference)
    variance_s = _blurred(total * total) - mean_s * mean_s
    variance_d = _blurred(difference * difference) - mean_d * mean_d
    contrast = (variance_s - variance_d + 2 * _CONTRAST) / (variance_s + variance_d + 2 * _CONTRAST)
    mean_s += np.float32(PEAK)
    square_s, square_d = mean_s * mean_s, mean_d * mean_d
    luminance = (square_s - square_d + 2 * _LUMINANCE) / (square_s + square_d + 2 * _LUMINANCE)
    return luminance * contrast, contrast


def _blurred(values: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h2 w2 3"]:
    """Gaussian means of the windows that lie inside."""
    half = WINDOW // 2
    # Rows outside a view are never looked at: strips give the numbers of the whole.
    border = cv2.BORDER_REFLECT_101 | cv2.BORDER_ISOLATED
    blurred: np.ndarray = cv2.GaussianBlur(values, (WINDOW, WINDOW), _SIGMA, borderType=border)
    return blurred[half:-half, half:-half]


def _inside(mask: Mask) -> Mask:
    """Which windows lie in the mask."""
    half = WINDOW // 2
    kernel = np.ones((WINDOW, WINDOW), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), kernel, borderValue=0)
    return np.asarray(eroded[half:-half, half:-half] > 0)
