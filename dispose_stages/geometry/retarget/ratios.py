"""From what single segments say to one ratio per limb, with what is not known about it.

A limb's logarithmic ratio is the body's (how much larger the reference is in its picture) plus its
own deviation from that. Nobody knows beforehand how far two bodies deviate, so that is estimated
along: under noise all limbs are drawn towards one ratio, with clear evidence none is. A short look
of the reference's limb may be its length or its leaning towards the camera; both are weighed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from dispose_stages.geometry.retarget.lengths import Evidence
from dispose_stages.geometry.retarget.limbs import LIMBS

_STEP = 0.02
GRID = np.arange(-100, 101) * _STEP
"""Logarithmic ratios that are considered, around the middle of the evidence."""
UNLIKENESS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5])
"""Deviations of a limb's logarithmic ratio from the body's that two bodies may have..."""
_ALIKE_BEFOREHAND = np.array([2.0, 1.5, 1.0, 1.0, 1.0, 1.0])
"""... and how much more likely each is beforehand."""
_FIT_SPREAD = 0.03
"""How well a line through whole bodies tells their ratio, where they are alike."""
_DRIVER_LEAN = 0.6
"""How much the driver's best frames lean, as a share of a single picture."""
_TAIL = 5.0
"""Leaning is exponential, with a share of it (a squat, a forearm at the camera) so much wider."""
_REFERENCE_TAIL, _DRIVER_TAIL = 0.2, 0.1
_OUTLIER = 1e-6


def estimate_ratios(
    found: Sequence[Evidence], middle: float, fitted: float
) -> tuple[Float64[np.ndarray, "l"], Float64[np.ndarray, "l"], float]:
    """Means over all ratios and all degrees of unlikeness, weighted by how well each explains.

    Args:
        found: At least one.
        middle: Logarithmic ratio the grid is laid around.
        fitted: Logarithmic scale of the line through whole bodies.

    Returns:
        Logarithmic ratio of every limb of `LIMBS`, reference over driver, less `middle`; its
        variance; and the same ratio of the bodies.
    """
    known = np.zeros(len(LIMBS), dtype=bool)
    likelihood = np.zeros((len(LIMBS), len(GRID)))
    for item in found:
        known[item.limb] = True
        likelihood[item.limb] += np.log(_likelihood(item, middle))
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    apart = GRID[None] - GRID[:, None]  # limb's ratio less the body's
    width = UNLIKENESS[:, None, None]
    prior = np.exp(-0.5 * (apart / width) ** 2) / width
    evidence, first, second = (
        np.einsum("tbr,lr->tbl", prior, likelihood * GRID**power) for power in (0, 1, 2)
    )
    weight = np.log(np.maximum(evidence[..., known], 1e-300)).sum(axis=-1)
    weight += np.log(_ALIKE_BEFOREHAND)[:, None]
    weight -= 0.5 * (fitted - middle - GRID) ** 2 / (_FIT_SPREAD**2 + UNLIKENESS[:, None] ** 2)
    weight = np.exp(weight - weight.max())
    weight = (weight / weight.sum())[..., None]
    mean = (weight * first / evidence).sum(axis=(0, 1))
    variance = np.maximum((weight * second / evidence).sum(axis=(0, 1)) - mean**2, 0.0)
    body = float((weight[..., 0] * GRID).sum())
    return mean, variance, body


def _likelihood(item: Evidence, middle: float) -> Float64[np.ndarray, "r"]:
    """Of a segment's ratio for every ratio of the grid, but for a factor."""
    reach = np.arange(-150, 151)
    density = np.exp(-0.5 * (reach * _STEP / item.spread) ** 2)
    zero, lean = 150, LIMBS[item.limb].lean
    if lean:
        leaning = _leaning(lean, _REFERENCE_TAIL)
        density = np.convolve(density, leaning[::-1])
        density = np.convolve(density, _leaning(_DRIVER_LEAN * lean, _DRIVER_TAIL))
        zero += len(leaning) - 1
    error = (item.log_ratio - middle - GRID) / _STEP + zero
    values = np.interp(error, np.arange(len(density)), density, left=0.0, right=0.0)
    return np.asarray(values / density.max() + _OUTLIER)


def _leaning(mean: float, tail: float) -> Float64[np.ndarray, "n"]:
    """Density of how much shorter a limb looks, logarithm, from 0 in steps of the grid."""
    shorter = np.arange(150) * _STEP
    near, far = (np.exp(-shorter / m) / m for m in (mean, _TAIL * mean))
    density = (1 - tail) * near + tail * far
    density[0] *= 0.5  # half of the first cell lies below 0
    return np.asarray(density / density.sum())
