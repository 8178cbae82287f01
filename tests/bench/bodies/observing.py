"""What a detector would report of a pair: noise, gaps, and what lies behind something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.training.world.scene import OUTSIDE, VISIBLE
from tests.bench.bodies.pairs import Pair

SEEN_SCORE = 0.3
_DETAIL = 0.5
"""Noise of face and hands, relative to the body's."""


@dataclass(frozen=True, slots=True)
class Detector:
    """How well keypoints are found.

    Attributes:
        noise: Deviation of a body keypoint, share of the figure's height.
        missed: Share of visible keypoints that are not found.
        missed_occluded: The same of those behind something.
        memory: Correlation of the noise from frame to frame.
    """

    noise: float = 0.0
    missed: float = 0.0
    missed_occluded: float = 0.0
    memory: float = 0.0


DETECTORS = {
    "exact": Detector(),
    "1 % noise": Detector(0.01, 0.01, 0.15),
    "1 %, slow": Detector(0.01, 0.01, 0.15, memory=0.8),
    "2 % noise, 5 % missing": Detector(0.02, 0.05, 0.5),
    "2 %, slow, 5 % missing": Detector(0.02, 0.05, 0.5, memory=0.8),
}


@dataclass(frozen=True, slots=True)
class Observed:
    """A pair as found, 134 points in pixels; and the truth in the same order."""

    reference: Float64[np.ndarray, "134 2"]
    reference_seen: Bool[np.ndarray, "134"]
    driving: Float64[np.ndarray, "f 134 2"]
    driving_seen: Bool[np.ndarray, "f 134"]
    truth: Float64[np.ndarray, "f 134 2"]


def observe(pair: Pair, detector: Detector, seed: int) -> Observed:
    """The pair through a detector."""
    rng = np.random.default_rng((seed, 97))
    still, still_seen = _found(pair.reference[None], pair.tall[0], detector, rng)
    moving, moving_seen = _found(pair.driving, pair.tall[1], detector, rng)
    truth, _ = to_openpose(pair.truth.astype(np.float64), np.ones(pair.truth.shape[:2]))
    return Observed(still[0], still_seen[0], moving, moving_seen, truth)


def _found(
    keypoints: Float[np.ndarray, "f 133 3"],
    tall: float,
    detector: Detector,
    rng: np.random.Generator,
) -> tuple[Float64[np.ndarray, "f 134 2"], Bool[np.ndarray, "f 134"]]:
    points, flags = keypoints[..., :2].astype(np.float64), keypoints[..., 2]
    noise = rng.standard_normal(points.shape)
    fresh = np.sqrt(1 - detector.memory**2)
    for frame in range(1, len(noise)):
        noise[frame] = detector.memory * noise[frame - 1] + fresh * noise[frame]
    deviation = np.full((133, 1), detector.noise * tall)
    deviation[23:] *= _DETAIL
    missed = np.where(flags == VISIBLE, detector.missed, detector.missed_occluded)
    scores = np.where(rng.uniform(size=flags.shape) < missed, 0.1, 0.9)
    scores[flags == OUTSIDE] = 0.1
    mapped, found = to_openpose(points + deviation * noise, scores)
    return mapped, found > SEEN_SCORE
