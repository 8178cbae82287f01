"""The numbers of DisCo's evaluator, which most papers of this field print.

They are no correct L1 and SSIM (docs/benchmark.md): L1 is divided by the number of pixels twice,
SSIM sees grey images in square windows. `psnr_wrapped` repeats the unsigned subtraction of 2023.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float64, Int32, UInt8

from dispose_stages.score.scratch import Scratch
from dispose_stages.score.similarity import EQUAL_PSNR, PEAK, Pixels

_WINDOW = 7
_STRIP = 48
"""Rows of windows at a time, so that what is in work stays in the cache."""
_LUMINANCE, _CONTRAST = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_SCRATCH = Scratch()


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
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (result, truth))
    windows = (truth.shape[0] - _WINDOW + 1) * (truth.shape[1] - _WINDOW + 1)
    strips = [slice(top, top + _STRIP + _WINDOW - 1) for top in range(0, len(x), _STRIP)]
    return float(sum(_sum_over_windows(x[rows], y[rows]) for rows in strips) / windows)


def _sum_over_windows(x: UInt8[np.ndarray, "h w"], y: UInt8[np.ndarray, "h w"]) -> float:
    """Of the similarity, whose terms are all taken times the squared count of a window.

    Sums are integers below 2^31, so exact. Squares come from ``x² + y² = (x - y)² + 2xy``, whose
    terms fit into 16 bits.
    """
    if len(x) < _WINDOW:
        return 0.0
    count = _WINDOW**2
    apart = cv2.absdiff(x, y)
    sums = _SCRATCH.array("sums", (5, *x.shape), np.int32)
    sum_x, sum_y, covariance, variance, means = sums
    _sum(x, sum_x)
    _sum(y, sum_y)
    _sum(cv2.multiply(x, y, dtype=cv2.CV_16U), covariance)
    _sum(cv2.multiply(apart, apart, dtype=cv2.CV_16U), variance)
    np.multiply(sum_x, sum_y, out=means)
    covariance *= 2
    variance += covariance
    means *= 2
    squares = np.multiply(sum_x, sum_x, out=sum_x)
    squares += np.multiply(sum_y, sum_y, out=sum_y)
    covariance *= count
    covariance -= means
    variance *= count
    variance -= squares
    above, below = (_SCRATCH.array(name, x.shape, np.float64) for name in ("above", "below"))
    _product(means, covariance, above)
    _product(squares, variance, below)
    above /= below
    half = _WINDOW // 2
    return float(above[half:-half, half:-half].sum())


def _product(
    means: Int32[np.ndarray, "h w"],
    covariance: Int32[np.ndarray, "h w"],
    out: Float64[np.ndarray, "h w"],
) -> None:
    """Luminance times contrast, of sums and with the constants that keep both off zero."""
    count = _WINDOW**2
    np.add(means, count**2 * _LUMINANCE, out=out)
    # Sample covariances: over count - 1.
    out *= np.add(covariance, count * (count - 1) * _CONTRAST)


def _sum(values: np.ndarray, out: Int32[np.ndarray, "h w"]) -> None:
    """Sums over windows around every value."""
    border = cv2.BORDER_REFLECT_101 | cv2.BORDER_ISOLATED
    size = (_WINDOW, _WINDOW)
    cv2.boxFilter(values, cv2.CV_32S, size, out, normalize=False, borderType=border)
