"""Errors of both alignments against the known truth, in head sizes of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import FACE_KEYPOINTS
from dispose_stages.errors import UnitError
from dispose_stages.geometry.retarget.fit import retarget
from dispose_stages.geometry.retarget.limbs import ANKLES
from dispose_stages.geometry.skeleton import ALIGNMENT_KEYPOINTS
from dispose_stages.motion.alignment import fit_alignment
from tests.bench.bodies.observing import Detector, Observed, observe
from tests.bench.bodies.pairs import Pair

PARTS = {"body": slice(0, 18), "face": FACE_KEYPOINTS, "hands": slice(92, 134)}
GROUND = "ground"
Keypoints = Float64[np.ndarray, "f 134 2"]


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean distances by part; ``ground`` is the lower ankle's from where it stands in truth.

    Attributes:
        official: Of the official fit.
        proportions: Of retargeting, followed or not.
        better: Whether the pipeline follows it.
    """

    official: Mapping[str, float]
    proportions: Mapping[str, float]
    better: bool

    @property
    def delivered(self) -> Mapping[str, float]:
        """What ``align: proportions`` comes to: it may have fallen back."""
        return self.proportions if self.better else self.official


def measure(pair: Pair, detector: Detector, seed: int) -> Errors | None:
    """Both fits of a pair; None where proportions are refused."""
    found = observe(pair, detector, seed)
    try:
        official, placed, better = fits(found)
    except UnitError:
        return None
    shown = found.driving_seen & found.reference_seen
    return Errors(
        *(_errors(points, found.truth, shown, pair) for points in (official, placed)),
        better,
    )


def fits(found: Observed) -> tuple[Keypoints, Keypoints, bool]:
    """The points of the official fit and of proportions, and whether these are followed.

    Raises:
        UnitError: They are refused.
    """
    keypoints = [k for k in ALIGNMENT_KEYPOINTS if found.reference_seen[k]]
    official = fit_alignment(
        found.reference[keypoints],
        found.driving[:, keypoints],
        target_aspect=1.0,
        video_aspect=1.0,
    )
    placed, measured = retarget(
        found.reference,
        found.reference_seen,
        found.driving,
        found.driving_seen,
        fitted=official.scale[1],
        keypoints=keypoints,
        official=official(found.driving),
        height=1,
    )
    return official(found.driving), placed, measured.used


def _errors(
    points: Float64[np.ndarray, "f 134 2"],
    truth: Float64[np.ndarray, "f 134 2"],
    shown: Bool[np.ndarray, "f 134"],
    pair: Pair,
) -> dict[str, float]:
    errors = {}
    for name, part in PARTS.items():
        apart = (points - truth)[:, part][shown[:, part]]
        # Where the figure stands as a whole is a matter of taste, so of the offset.
        away = np.linalg.norm(apart - apart.mean(axis=0), axis=-1) if len(apart) else np.nan
        errors[name] = float(np.mean(away)) / pair.head
    if shown[:, ANKLES].all(axis=1).mean() > 0.5:
        low, wanted = (p[:, ANKLES, 1].max(axis=1) for p in (points, truth))
        errors[GROUND] = float(np.abs(low - wanted).mean()) / pair.head
    return errors
