"""How long the limbs of a body look: in one picture of the reference, over the driver's frames.

What a picture cannot tell is left open for `retarget.ratios`: how far a limb leans out of the image
plane, how the trunk stands to the head that its turn is read off, what lies behind something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import BODY_KEYPOINTS
from dispose_stages.geometry.retarget.limbs import (
    JAW,
    LIMBS,
    NOSE_TIP,
    Limb,
    noise_variance,
)

QUANTILE = 0.9
"""Of a limb's lengths over the driver's frames; the median would be a foreshortened one."""
LEAST_NOISE = 0.004
"""Of a body keypoint, as a share of the body's size: no detector is better."""
UNKNOWN_NOISE = 0.01
"""The same where a clip is too short to tell."""
FLATTEST_TURN = 0.3
"""Cosine below which a width says nothing further."""
_NOSE_TO_JAW = 1.2
"""How far the tip of the nose is before the line between the ends of the jaw, in halves of it."""
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
_SMOOTHED_NOISE = float(np.sqrt((_SMOOTHING**2).sum()))
_SEEN_SHARE = 0.1
_DIFFERENCES = 4
_DIFFERENCE_VARIANCE = 70.0
"""Of the fourth difference of independent noise of variance one."""

Points = Float64[np.ndarray, "f 136 2"]
Seen = Bool[np.ndarray, "f 136"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one segment says of one limb.

    Attributes:
        limb: Index into `LIMBS`.
        log_ratio: Of the reference's length over the driver's.
        spread: Standard deviation of that for all reasons but leaning.
    """

    limb: int
    log_ratio: float
    spread: float


def smoothed(values: Float64[np.ndarray, "f *axes"]) -> Float64[np.ndarray, "f *axes"]:
    """Binomial mean over five frames; the first and last frame go on beyond the ends."""
    ends = [(2, 2)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, ends, mode="edge")
    parts = [weight * padded[i : i + len(values)] for i, weight in enumerate(_SMOOTHING)]
    return np.asarray(np.sum(parts, axis=0))


def filled(points: Points, seen: Seen) -> Points:
    """Unseen points put where the frames around them have them; kept where none has."""
    frames, out = np.arange(len(points)), points.copy()
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        known = np.flatnonzero(seen[:, joint])
        for axis in (0, 1):
            out[:, joint, axis] = np.interp(frames, known, points[known, joint, axis])
    return out


def noise_level(points: Points, seen: Seen) -> float | None:
    """Deviation of a body keypoint that changes from frame to frame, pixels; None if unknown.

    Noise that stays over several frames looks like movement: it is not seen here.
    """
    if len(points) <= _DIFFERENCES:
        return None
    jumps = np.diff(points[:, BODY_KEYPOINTS], n=_DIFFERENCES, axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(
        seen[:, BODY_KEYPOINTS], _DIFFERENCES + 1, axis=0
    )
    usable = np.abs(jumps[windows.all(axis=-1)])
    if not len(usable):
        return None
    return float(np.median(usable) / 0.6745 / np.sqrt(_DIFFERENCE_VARIANCE))


def turn_cosine(points: Points, seen: Seen) -> Float64[np.ndarray, "f"]:
    """Cosine of how far the head is turned from the camera, by where its nose is; 1 if unknown.

    The trunk is taken to be turned as the head is on the average.
    """
    across = points[:, JAW[1]] - points[:, JAW[0]]
    width = np.maximum(np.linalg.norm(across, axis=-1), 1e-9)
    offset = points[:, NOSE_TIP] - points[:, JAW].mean(axis=1)
    beside = (offset * across).sum(axis=-1) / width
    tangent = 2 * beside / (_NOSE_TO_JAW * width)
    known = seen[:, JAW].all(axis=1) & seen[:, NOSE_TIP]
    return np.where(known, np.clip(1 / np.hypot(1, tangent), FLATTEST_TURN, 1.0), 1.0)


def _segments(
    points: Points, seen: Seen, limb: Limb, noise: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Length (less what noise adds to it) and whether both ends are seen, per segment."""
    for first, last in limb.ends:
        raw = np.linalg.norm(points[:, last] - points[:, first], axis=-1)
        length = np.maximum(raw - noise**2 / np.maximum(raw, 1e-9), 1e-3 * raw + 1e-9)
        yield length, seen[:, first] & seen[:, last]


def driver_lengths(points: Points, seen: Seen) -> tuple[dict[int, tuple[float, float]], float]:
    """Limbs of the driver and the noise of its keypoints.

    Args:
        points: Pixels, without gaps (`filled`).
        seen: As found.

    Returns:
        By index of the limb, its length and the relative uncertainty of a width; and the noise of a
        body keypoint as a share of the size.
    """
    level = noise_level(points, seen)
    noise = _SMOOTHED_NOISE * (level or 0.0)
    steady, cosine = smoothed(points), turn_cosine(smoothed(points), seen)
    found: dict[int, tuple[float, float]] = {}
    for index, limb in enumerate(LIMBS):
        parts = [
            _over_frames(limb, length[shown], cosine[shown], level or 0.0)
            for length, shown in _segments(steady, seen, limb, noise)
            if shown.sum() >= max(1, _SEEN_SHARE * len(points))
        ]
        if parts:
            found[index] = max(parts)
    size = body_size({index: length for index, (length, _) in found.items()})
    share = UNKNOWN_NOISE if level is None else level / size if size else 0.0
    return found, max(share, LEAST_NOISE)


def _over_frames(
    limb: Limb, length: np.ndarray, cosine: np.ndarray, level: float
) -> tuple[float, float]:
    if not limb.turn:
        return float(np.quantile(length, QUANTILE)), 0.0
    # Least squares of length = width · cosine: frames that face the camera say most.
    squares = float((cosine**2).mean())
    width = float((length * cosine).mean()) / squares
    tangent = np.sqrt(1 - squares) / np.sqrt(squares)
    noise = level / max(float(np.sqrt((length**2).mean())), 1e-9)
    return width, float(np.hypot(0.8 * limb.turn * tangent + 0.02, noise))


def body_size(lengths: dict[int, float]) -> float:
    """Sum of the long bones that are known; 0 without any."""
    return sum(length for index, length in lengths.items() if LIMBS[index].long)


def evidence(
    points: Points, seen: Seen, driver: dict[int, tuple[float, float]], noise: float
) -> list[Evidence]:
    """What a picture of the reference says of every limb that the driver shows too.

    Args:
        points: Of one frame, pixels.
        seen: Of that frame.
        driver: From `driver_lengths`.
        noise: Of a body keypoint, pixels.
    """
    cosine = float(turn_cosine(points, seen)[0])
    tangent = float(np.sqrt(1 - cosine**2) / cosine)
    found = []
    for index, (other, doubt) in driver.items():
        limb = LIMBS[index]
        deviation = noise * np.sqrt(sum(noise_variance(end) for end in limb.ends[0]))
        turned = limb.turn * tangent + 0.03 if limb.turn else 0.0
        for length, shown in _segments(points, seen, limb, noise):
            if shown[0]:
                real = float(length[0]) / (cosine if limb.turn else 1.0)
                spread = np.hypot(deviation / max(float(length[0]), 1e-9), 0.02)
                spread = min(float(np.hypot(spread, np.hypot(turned, doubt))), 1.0)
                found.append(Evidence(index, float(np.log(real / other)), spread))
    return found
