"""Slow change over a clip: colours and sharpness against the frame index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64

from dispose_stages.score.similarity import PEAK, Pixels

STATISTICS = ("red", "green", "blue", "sharpness")
_NORMAL_975 = 1.959963984540054


def appearance(frame: Pixels) -> dict[str, float]:
    """Mean of each channel in [0, 1], and sharpness.

    Sharpness is the decadic logarithm of one plus the variance of the grey image's Laplacian, so
    that its slope does not depend on the contrast of the scene.
    """
    red, green, blue = (mean / PEAK for mean in cv2.mean(frame)[:3])
    laplacian = cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    _, deviation = cv2.meanStdDev(laplacian)
    sharpness = math.log10(1 + float(deviation[0, 0]) ** 2)
    return dict(zip(STATISTICS, (red, green, blue, sharpness), strict=True))


@dataclass(frozen=True, slots=True)
class Slope:
    """Change per 100 frames, with its 95 % interval."""

    value: float
    low: float
    high: float


def slope(values: Float64[np.ndarray, "f"]) -> Slope:
    """Least-squares slope against the frame index.

    Frames are not independent: the interval counts as many as their lag-1 autocorrelation leaves
    (Santer et al., 2000). All nan with fewer than three finite frames; the interval is where not
    three independent ones are left.
    """
    index = np.flatnonzero(np.isfinite(values))
    if len(index) < 3:
        return Slope(math.nan, math.nan, math.nan)
    y = values[index]
    x = index - index.mean()
    spread = float(x @ x)
    gradient = float(x @ y) / spread
    rest = y - y.mean() - gradient * x
    error = float(rest @ rest)
    memory = max(0.0, float(rest[1:] @ rest[:-1]) / error) if error > 0 else 0.0
    freedom = len(y) * (1 - memory) / (1 + memory) - 2
    half = math.nan
    if freedom >= 1:
        half = _t_quantile(freedom) * math.sqrt(error / freedom / spread)
    return Slope(*(100 * v for v in (gradient, gradient - half, gradient + half)))


def _t_quantile(freedom: float) -> float:
    """97.5th percentile of Student's distribution, by its expansion around the normal one."""
    z = _NORMAL_975
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
