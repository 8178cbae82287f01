"""How like the truth a frame is: L1, PSNR, SSIM and MS-SSIM by their published definitions.

Frames are 8-bit RGB. SSIM (Wang et al., 2004) takes Gaussian windows of deviation 1.5 that lie
inside the image, per channel; MS-SSIM (Wang et al., 2003) five of its scales, halved by 2 x 2
means. Filters run in OpenCV, in one pass for both: scikit-image and torchmetrics need ten times as
long for the same numbers (docs/decisions/0008-own-metrics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dispose_stages.score.scratch import Scratch

Pixels = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

PEAK = 255.0
EQUAL_PSNR = 100.0
"""What equal frames get, and no frame more; the ratio itself is infinite there."""
WINDOW = 11
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA = 1.5
_STRIP = 128
"""Rows of windows of a channel at a time, so that what is in work stays in the cache."""
_LUMINANCE, _CONTRAST = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_SCRATCH = Scratch()


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
    """SSIM and MS-SSIM, within 1e-6 of their definitions in float64.

    Args:
        result: Frame.
        mask: Only windows that lie in it count.

    Returns:
        Both values; nan where no window fits (MS-SSIM needs 176 pixels on either side).
    """
    inside = _inside_by_scale(mask)
    means = np.mean([_scale_means(result, truth, c, inside) for c in range(3)], axis=0)
    similarity, contrast = means[:, 0], means[:, 1]
    factors = np.maximum([*contrast[:-1], similarity[-1]], 0)
    return float(similarity[0]), float(np.prod(factors ** np.array(SCALE_WEIGHTS)))


def _scale_means(
    result: Pixels, truth: Pixels, channel: int, inside: Sequence[Mask | None]
) -> Float64[np.ndarray, "s 2"]:
    """SSIM and its contrast term of one channel, at every scale; nan where no window fits."""
    shape = result.shape[:2]
    x, y = (_SCRATCH.array(name, shape, np.uint8) for name in "xy")
    total, difference = (_SCRATCH.array(f"{name}0", shape) for name in "sd")
    cv2.extractChannel(result, channel, x)
    cv2.extractChannel(truth, channel, y)
    cv2.addWeighted(x, 1, y, 1, -PEAK, total, cv2.CV_32F)
    cv2.subtract(x, y, difference, dtype=cv2.CV_32F)
    means = np.full((len(inside), 2), math.nan)
    for scale, chosen in enumerate(inside):
        if scale:
            total, difference = _halved(total, f"s{scale}"), _halved(difference, f"d{scale}")
        if min(total.shape) < WINDOW:
            break
        means[scale] = _window_means(total, difference, chosen)
    return means


def _halved(values: Float32[np.ndarray, "h w"], name: str) -> Float32[np.ndarray, "h2 w2"]:
    """Means of 2 x 2 values, in scratch memory; an odd last row or column is left out."""
    height, width = values.shape[0] // 2, values.shape[1] // 2
    halved = _SCRATCH.array(name, (height, width))
    if halved.size:
        even = values[: 2 * height, : 2 * width]
        cv2.resize(even, (width, height), halved, interpolation=cv2.INTER_AREA)
    return halved


def _window_means(
    total: Float32[np.ndarray, "h w"],
    difference: Float32[np.ndarray, "h w"],
    inside: Mask | None,
) -> Float64[np.ndarray, "2"]:
    """Mean of SSIM and of its contrast term over all windows; nan where the mask holds none."""
    rows = min(_STRIP + WINDOW - 1, len(total))
    work = _SCRATCH.array(f"work{total.shape[1]}", (6, rows, total.shape[1]))
    sums, windows = np.zeros(2), 0
    for top in range(0, len(total) - WINDOW + 1, _STRIP):
        part = slice(top, top + _STRIP + WINDOW - 1)
        strip = total[part]
        maps = _window_maps(strip, difference[part], work[:, : len(strip)])
        if inside is not None:
            chosen = inside[top : top + _STRIP]
            maps = tuple(values[chosen] for values in maps)
        sums += [cv2.sumElems(values)[0] if values.size else 0.0 for values in maps]
        windows += maps[0].size
    return sums / windows if windows else np.full(2, math.nan)


def _window_maps(
    total: Float32[np.ndarray, "h w"],
    difference: Float32[np.ndarray, "h w"],
    work: Float32[np.ndarray, "6 h w"],
) -> tuple[np.ndarray, ...]:
    """SSIM and its contrast term of every window that lies inside.

    Four filters instead of five: with ``s = x + y`` and ``d = x - y`` the product of means is
    ``(mean(s)² - mean(d)²) / 4``, and so on; the sum is centred, so float32 is exact enough.
    Windows that leave the image are worked out too, because short rows are slow, and left out.

    Args:
        total: Some rows of ``s``.
        difference: Of ``d``.
        work: Overwritten.
    """
    mean_s, square_d, variance_s, variance_d, similarity, contrast = work
    _blur(total, mean_s)
    _blur(difference, square_d)
    _blur(np.multiply(total, total, out=contrast), variance_s)
    _blur(np.multiply(difference, difference, out=contrast), variance_d)
    square_d *= square_d
    variance_s -= np.multiply(mean_s, mean_s, out=contrast)
    variance_d -= square_d
    variance_s += np.float32(2 * _CONTRAST)
    _ratio(variance_s, variance_d, contrast)
    mean_s += np.float32(PEAK)
    mean_s *= mean_s
    mean_s += np.float32(2 * _LUMINANCE)
    _ratio(mean_s, square_d, similarity)
    similarity *= contrast
    half = WINDOW // 2
    return similarity[half:-half, half:-half], contrast[half:-half, half:-half]


def _ratio(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``(a - b) / (a + b)``; overwrites `a`."""
    np.subtract(a, b, out=out)
    a += b
    out /= a


def _blur(values: Float32[np.ndarray, "h w"], out: Float32[np.ndarray, "h w"]) -> None:
    """Gaussian means of windows around every value."""
    # Rows outside a view are never looked at: strips give the numbers of the whole.
    border = cv2.BORDER_REFLECT_101 | cv2.BORDER_ISOLATED
    cv2.GaussianBlur(values, (WINDOW, WINDOW), _SIGMA, dst=out, borderType=border)


def _inside_by_scale(mask: Mask | None) -> list[Mask | None]:
    """Which windows lie in the mask, at every scale."""
    if mask is None:
        return [None] * len(SCALE_WEIGHTS)
    masks = [mask]
    for scale in range(1, len(SCALE_WEIGHTS)):
        masks.append(_halved(masks[-1].astype(np.float32), f"s{scale}") >= 1)
    return [_inside(each) for each in masks]


def _inside(mask: Mask) -> Mask:
    """Which windows lie in the mask."""
    if min(mask.shape) < WINDOW:
        return np.zeros((0, 0), dtype=bool)
    half = WINDOW // 2
    kernel = np.ones((WINDOW, WINDOW), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), kernel, borderValue=0)
    return np.asarray(eroded[half:-half, half:-half] > 0)
