"""The numbers of DisCo's evaluator, which most papers of this field print.

They are no correct L1 and SSIM (docs/benchmark.md): L1 is divided by the number of pixels twice,
SSIM sees grey images in square windows. `psnr_wrapped` repeats the unsigned subtraction of 2023.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dispose_stages.score.similarity import EQUAL_PSNR, PEAK, Pixels

_WINDOW = 7
_STRIP = 48
"""Rows of windows at a time, so that what is in work stays in the cache."""
_LUMINANCE, _CONTRAST = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def to_truth_size(result: UInt8[np.ndarray, "h0 w0 3"], truth: Pixels) -> Pixels:
    """The result, resized bilinearly where its size differs."""
    height, width = truth.shape[:2]
    if result.shape[:2] == (height, width):
        return result
    return np.asarray(cv2.resize(result, (width, height), interpolation=cv2.INTER_LINEAR))


def l1(result: Pixels, truth: Pixels) -> float:
    """Differences in 0 to 255 over height x width, then their mean: shrinks with resolution."""
    height, width = truth.shape[:2]
    return float(cv2.norm(result, truth, cv2.NORM_L1) / truth.size / (height * width))


def psnr(result: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio, dB; 100 for equal frames."""
    return _decibel(float(cv2.norm(result, truth, cv2.NORM_L2SQR)) / truth.size)


def psnr_wrapped(result: Pixels, truth: Pixels) -> float:
    """PSNR of 8-bit differences and squares that wrap around (`disco_uint8`)."""
    wrapped = np.subtract(result, truth)
    return _decibel(float(np.mean(wrapped * wrapped)))


def _decibel(error: float) -> float:
    return EQUAL_PSNR if error == 0 else 20 * math.log10(PEAK / math.sqrt(error))


def ssim(result: Pixels, truth: Pixels) -> float:
    """SSIM of grey images, 7 x 7 windows inside the image, unbiased covariances.

    Nan where the image is smaller than a window.
    """
    if min(truth.shape[:2]) < _WINDOW:
        return math.nan
    x, y = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (result, truth))
    windows = (truth.shape[0] - _WINDOW + 1) * (truth.shape[1] - _WINDOW + 1)
    strips = [slice(top, top + _STRIP + _WINDOW - 1) for top in range(0, len(x), _STRIP)]
    return float(sum(_sum_over_windows(x[rows], y[rows]) for rows in strips) / windows)


def _sum_over_windows(x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]) -> float:
    if len(x) < _WINDOW:
        return 0.0
    count = _WINDOW**2
    mean_x, mean_y = _sums(x) / count, _sums(y) / count
    unbiased = count / (count - 1)
    var_x = unbiased * (_sums(x * x) / count - mean_x * mean_x)
    var_y = unbiased * (_sums(y * y) / count - mean_y * mean_y)
    covariance = unbiased * (_sums(x * y) / count - mean_x * mean_y)
    above = (2 * mean_x * mean_y + _LUMINANCE) * (2 * covariance + _CONTRAST)
    below = (mean_x**2 + mean_y**2 + _LUMINANCE) * (var_x + var_y + _CONTRAST)
    return float((above / below).sum())


def _sums(values: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, "h2 w2"]:
    """Sums over windows that lie inside; of integers below 2^24, so exact in float32."""
    half = _WINDOW // 2
    sums = cv2.boxFilter(
        values,
        -1,
        (_WINDOW, _WINDOW),
        normalize=False,
        borderType=cv2.BORDER_REFLECT_101 | cv2.BORDER_ISOLATED,
    )
    return np.asarray(sums[half:-half, half:-half], dtype=np.float64)
