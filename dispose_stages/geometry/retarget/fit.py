"""A driver's poses on a reference's proportions, from two pose tracks alone.

Two-dimensional: what leans out of the image plane in all frames, how far a trunk is turned that
shows no face, and the camera's height cannot be told and are left to `retarget.ratios` to doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import BODY_KEYPOINTS, Retargeting
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.retarget.chain import root_path, scale_limbs
from dispose_stages.geometry.retarget.ground import ground_slip, onto_ground
from dispose_stages.geometry.retarget.lengths import (
    Evidence,
    body_size,
    driver_lengths,
    evidence,
    filled,
)
from dispose_stages.geometry.retarget.limbs import LIMBS, NAMES, Limb, with_centres
from dispose_stages.geometry.retarget.ratios import estimate_ratios

LEAST_DISTINCT = 0.7
"""Bodies whose limbs differ less clearly (`Retargeting.distinct`) count as alike..."""
WELL_KNOWN = 0.08
"""... unless the ratios are known so well, as a mean deviation of their logarithms."""
_LEG = (NAMES.index("thigh"), NAMES.index("shin"))


def retarget(
    reference: Float64[np.ndarray, "134 2"],
    reference_seen: Bool[np.ndarray, "134"],
    driving: Float64[np.ndarray, "f 134 2"],
    driving_seen: Bool[np.ndarray, "f 134"],
    *,
    fitted: float,
    keypoints: Sequence[int],
    official: Float64[np.ndarray, "f 134 2"],
    height: int,
) -> tuple[Float64[np.ndarray, "f 134 2"], Retargeting]:
    """Angles and timing of the driver, lengths of the reference.

    Args:
        reference: Pixels of the picture.
        reference_seen: Which of them count.
        driving: Pixels of the video, of one person.
        driving_seen: Which of them count.
        fitted: Scale of the line through whole bodies (``align: official``), pixels over pixels.
        keypoints: By whose mean the body is put in its place, where no ground says better.
        official: Where that line has the driver, pixels of the picture.
        height: Of the picture, pixels.

    Returns:
        The driver's keypoints on the reference's proportions, pixels of the picture, also where
        they are unseen; and what was measured.

    Raises:
        UnitError: ``retarget_unfit``: no long bone is seen in both.
    """
    still, still_seen = with_centres(reference[None], reference_seen[None])
    moving, moving_seen = with_centres(driving, driving_seen)
    moving = filled(moving, moving_seen)
    lengths, noise = driver_lengths(moving, moving_seen)
    found, middle = _measured(still, still_seen, lengths, noise)
    mean, variance, body = estimate_ratios(found, middle, float(np.log(fitted)))
    ratio, spread, of_body = np.exp(mean + middle), np.sqrt(variance), float(np.exp(body + middle))
    scaled = scale_limbs(moving, ratio)
    scaled += root_path(moving, moving_seen, scaled, ratio)[:, None]
    leg = sum(lengths[i][0] * ratio[i] for i in _LEG if i in lengths)
    down = onto_ground(still, still_seen, scaled, moving_seen, leg)
    placed = scaled + _place(still[0, list(keypoints)], scaled[:, list(keypoints)], down)
    errors = [item.log_ratio - np.log(ratio[item.limb]) for item in found]
    size = body_size({i: length for i, (length, _) in lengths.items()}) * of_body
    in_reference = np.isin(np.arange(len(LIMBS)), [item.limb for item in found])
    apart = np.sqrt(((mean - body)[in_reference] ** 2).mean())
    distinct = float(apart / np.sqrt(variance[in_reference].mean()))
    points = placed[:, : driving.shape[1]]
    return points, Retargeting(
        used=distinct >= LEAST_DISTINCT or uncertainty(spread, in_reference) <= WELL_KNOWN,
        limbs=NAMES,
        ratio=ratio,
        spread=spread,
        seen=np.asarray([_share(limb, moving_seen) for limb in LIMBS]),
        in_reference=in_reference,
        body=of_body,
        distinct=distinct,
        residual=float(np.sqrt(np.mean(np.square(errors)))),
        ground_slip=ground_slip(moving, placed, moving_seen) / size,
        displacement=_displacement(points, official, driving_seen) / height,
    )


def uncertainty(spread: Float64[np.ndarray, "l"], in_reference: Bool[np.ndarray, "l"]) -> float:
    """Mean deviation of the ratios' logarithms, of the limbs that the reference shows."""
    return float(np.sqrt((spread[in_reference] ** 2).mean()))


def _measured(
    still: Float64[np.ndarray, "1 136 2"],
    seen: Bool[np.ndarray, "1 136"],
    lengths: dict[int, tuple[float, float]],
    noise: float,
) -> tuple[list[Evidence], float]:
    """What the picture says of every limb, and the middle of the long bones' logarithmic ratios.

    First without noise, for the size of the reference's body; then with it.
    """
    rough = evidence(still, seen, lengths, 0.0)
    longest: dict[int, float] = {}
    for item in rough:
        if LIMBS[item.limb].long:
            longest[item.limb] = max(item.log_ratio, longest.get(item.limb, -np.inf))
    if not longest:
        raise UnitError(
            Reason.RETARGET_UNFIT,
            "no trunk, arm or leg is seen in both reference and driver, so proportions cannot be "
            "compared; use pictures that share one, or align: official",
        )
    middle = float(np.median(list(longest.values())))
    size = body_size({index: length for index, (length, _) in lengths.items()}) * np.exp(middle)
    return evidence(still, seen, lengths, noise * size), middle


def _share(limb: Limb, seen: Bool[np.ndarray, "f 136"]) -> float:
    """Of the frames that show some segment of a limb."""
    shown = np.stack([seen[:, first] & seen[:, last] for first, last in limb.ends])
    return float(shown.any(axis=0).mean())


def _place(
    still: Float64[np.ndarray, "k 2"], moving: Float64[np.ndarray, "f k 2"], down: float | None
) -> Float64[np.ndarray, "2"]:
    """Beside where it would be in the picture: the mean of both, or feet on the same ground."""
    shift = still.mean(axis=0) - moving.mean(axis=(0, 1))
    return np.asarray(shift if down is None else (shift[0], down))


def _displacement(
    points: Float64[np.ndarray, "f 134 2"],
    official: Float64[np.ndarray, "f 134 2"],
    seen: Bool[np.ndarray, "f 134"],
) -> float:
    """Mean distance of the body's seen keypoints from where another fit has them."""
    apart = np.linalg.norm(points - official, axis=-1)[:, BODY_KEYPOINTS]
    shown = seen[:, BODY_KEYPOINTS]
    return float(apart[shown].mean()) if shown.any() else 0.0
