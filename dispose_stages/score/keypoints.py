"""Whether the result stands as the driver asks: keypoints found again against keypoints wanted.

A clip's share is that of all its keypoints, not a mean of shares. A keypoint is wanted where
the driver shows it and it lies in the frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.artifacts import (
    BODY_KEYPOINTS,
    FACE_KEYPOINTS,
    LEFT_HAND_KEYPOINTS,
    RIGHT_HAND_KEYPOINTS,
    VISIBLE_SCORE,
    PoseTrack,
)

PARTS: Mapping[str, tuple[slice, ...]] = {
    "body": (BODY_KEYPOINTS,),
    "hands": (LEFT_HAND_KEYPOINTS, RIGHT_HAND_KEYPOINTS),
    "face": (FACE_KEYPOINTS,),
}
TOLERANCES = {"pck_010": 0.1, "pck_005": 0.05}
"""Share of the larger side of the box around the wanted body."""
_NOSE, _NECK = 0, 1


@dataclass(frozen=True, slots=True)
class WantedPose:
    """Pose of the driving person, aligned to the reference.

    Attributes:
        points: Pixels of the result.
        visible: Whether a keypoint is wanted.
    """

    points: Float64[np.ndarray, "f 134 2"]
    visible: Bool[np.ndarray, "f 134"]

    @classmethod
    def of(cls, poses: PoseTrack, person: Int64[np.ndarray, "f"]) -> WantedPose:
        """Of the driving frames of a track; `person` is each frame's row, -1 where it is lost."""
        size = np.array([poses.width, poses.height], dtype=np.float64)
        points = np.zeros((len(poses), 134, 2))
        visible = np.zeros((len(poses), 134), dtype=bool)
        for index, row in enumerate(person.tolist()):
            if row < 0:
                continue
            frame = poses[index]
            inside = ((frame.keypoints[row] >= 0) & (frame.keypoints[row] <= 1)).all(axis=-1)
            points[index] = frame.keypoints[row] * size
            visible[index] = (frame.scores[row] > VISIBLE_SCORE) & inside
        return cls(points, visible)


@dataclass(frozen=True, slots=True)
class FoundPose:
    """Best detection in every frame of the result.

    Attributes:
        points: Pixels.
        visible: Whether a keypoint was found; none where nobody was detected.
        persons: How many were detected.
    """

    points: Float64[np.ndarray, "f 134 2"]
    visible: Bool[np.ndarray, "f 134"]
    persons: Int64[np.ndarray, "f"]

    @classmethod
    def of(cls, poses: PoseTrack) -> FoundPose:
        """The whole-image box that stands for "nobody" is nobody."""
        size = np.array([poses.width, poses.height], dtype=np.float64)
        points = np.zeros((len(poses), 134, 2))
        visible = np.zeros((len(poses), 134), dtype=bool)
        persons = np.zeros(len(poses), dtype=np.int64)
        for index in range(len(poses)):
            frame = poses[index]
            persons[index] = int((frame.box_scores > 0).sum())
            if persons[index]:
                points[index] = frame.keypoints[0] * size
                visible[index] = frame.scores[0] > VISIBLE_SCORE
        return cls(points, visible, persons)


def body_extent(wanted: WantedPose) -> Float64[np.ndarray, "f"]:
    """Larger side of the box around the wanted body, pixels; nan where none is wanted."""
    body = wanted.visible[:, BODY_KEYPOINTS, None]
    points = wanted.points[:, BODY_KEYPOINTS]
    low = np.where(body, points, np.inf).min(axis=1)
    high = np.where(body, points, -np.inf).max(axis=1)
    extent = (high - low).max(axis=-1)
    return np.where(np.isfinite(extent) & (extent > 0), extent, np.nan)


def head_size(wanted: WantedPose) -> float:
    """Length from nose to neck, pixels: median of the frames that want both; nan without one."""
    both = wanted.visible[:, _NOSE] & wanted.visible[:, _NECK]
    if not both.any():
        return math.nan
    lengths = np.linalg.norm(wanted.points[both, _NOSE] - wanted.points[both, _NECK], axis=-1)
    return float(np.median(lengths))


@dataclass(frozen=True, slots=True)
class Tally:
    """A measure per frame, as a sum and over how many keypoints it was taken."""

    total: Float64[np.ndarray, "f"]
    count: Int64[np.ndarray, "f"]

    @property
    def per_frame(self) -> Float64[np.ndarray, "f"]:
        """Mean over each frame's keypoints; nan where it has none."""
        means: Float64[np.ndarray, "f"] = np.full(len(self.count), np.nan)
        np.divide(self.total, self.count, out=means, where=self.count > 0)
        return means

    @property
    def pooled(self) -> float:
        """Mean over all keypoints of the clip; nan where it has none."""
        count = int(self.count.sum())
        return float(self.total.sum()) / count if count else math.nan


def compare_poses(found: FoundPose, wanted: WantedPose) -> dict[str, Tally]:
    """Measures of every part.

    ``pck_010_body`` and the like: share of the wanted keypoints that lie in the right place; a
    missing one does not. ``akd_*``: mean distance of those found, pixels. ``missing_*``: share of
    the wanted ones that are not found. ``spurious_*``: share of the unwanted ones that are.
    """
    distance = np.linalg.norm(found.points - wanted.points, axis=-1)
    extent = body_extent(wanted)[:, None]
    measures: dict[str, Tally] = {}
    for part, slices in PARTS.items():
        chosen = np.concatenate([np.arange(134)[s] for s in slices])
        asked, seen = wanted.visible[:, chosen], found.visible[:, chosen]
        apart = distance[:, chosen]
        for name, tolerance in TOLERANCES.items():
            near = seen & (apart <= tolerance * extent)
            measures[f"{name}_{part}"] = _tally(near, asked & np.isfinite(extent))
        measures[f"akd_{part}"] = _tally(apart, asked & seen)
        measures[f"missing_{part}"] = _tally(~seen, asked)
        measures[f"spurious_{part}"] = _tally(seen, ~asked)
    return measures


def _tally(values: np.ndarray, counted: Bool[np.ndarray, "f k"]) -> Tally:
    return Tally(np.where(counted, values, 0.0).sum(axis=1), counted.sum(axis=1))


def person_shares(found: FoundPose) -> dict[str, float]:
    """Shares of frames with one person, with more, and with none."""
    persons = found.persons
    shares = {"one": persons == 1, "more": persons > 1, "none": persons == 0}
    return {f"persons_{name}": float(np.mean(which)) for name, which in shares.items()}
