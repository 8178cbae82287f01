"""One person through a video that shows several, by where and how they move, not by their looks.

Every person seen is a track that goes on at its own speed while it is unseen. In each frame tracks
and detections are matched one to one, so that two tracks never take one detection: whoever walks
behind somebody keeps their place in line until they are seen again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame

NOT_FOUND = -1
LEAST_SIMILARITY = 0.05
"""A detection that fits a track less is somebody else."""
_TOLERANCE = 0.25
"""Distance at which similarity has fallen to 0.6, of the size of the body."""
_PATIENCE = 0.1
"""How much this grows with every frame in which a track is unseen, of itself."""
_INERTIA = 0.8
"""Share of a track's speed that outlasts a new sighting."""
_TRUNK = (1, 2, 5, 8, 11)
_COMMON = 4
"""Keypoints that must be visible in both, else boxes are compared."""


@dataclass(slots=True)
class _Track:
    points: Float64[np.ndarray, "18 2"]
    seen: Bool[np.ndarray, "18"]
    box: Float64[np.ndarray, "4"]
    speed: Float64[np.ndarray, "2"]
    last: int
    sightings: int = 1

    def similarity(self, frame: int, other: _Track) -> float:
        """To a detection of that frame, 0 to 1."""
        gap = frame - self.last
        moved = self.speed * gap
        common = self.seen & other.seen
        if common.sum() >= _COMMON:
            apart = other.points[common] - self.points[common] - moved
        else:
            apart = (other.box - self.box).reshape(2, 2) - moved
        size = np.sqrt(_size(self.box) * _size(other.box))
        reach = _TOLERANCE * size * (1 + _PATIENCE * (gap - 1))
        near = float(np.exp(-0.5 * (apart**2).sum(axis=-1) / reach**2).mean())
        alike = min(_size(self.box), _size(other.box)) / max(_size(self.box), _size(other.box))
        return near * alike

    def centre(self, other: _Track) -> Float64[np.ndarray, "2"]:
        """Of the trunk, which swings less than limbs do; of the box where either hides it."""
        trunk = [joint for joint in _TRUNK if self.seen[joint] and other.seen[joint]]
        shown = self.points[trunk] if trunk else self.box.reshape(2, 2)
        return np.asarray(shown.mean(axis=0))

    def follow(self, frame: int, other: _Track) -> None:
        """Go on from a detection; speed is a mean over the sightings, late ones counting more."""
        step = (other.centre(self) - self.centre(other)) / (frame - self.last)
        weight = max(1 - _INERTIA, 1 / self.sightings)
        self.speed = (1 - weight) * self.speed + weight * step
        self.points, self.seen, self.box = other.points, other.seen, other.box
        self.last, self.sightings = frame, self.sightings + 1


def _size(box: Float64[np.ndarray, "4"]) -> float:
    """The longer side of a body's box, pixels."""
    return max(float(np.ptp(box.reshape(2, 2), axis=0).max()), 1.0)


def follow_persons(
    frames: Sequence[Frame], height: int, width: int
) -> list[Int64[np.ndarray, "f"]]:
    """Row of every person in every frame, -1 where it is not seen.

    The whole-image box of a frame without detection is nobody.

    Args:
        frames: All persons of each, best detection first.
        height: Of the frames, pixels.
        width: Of the frames, pixels.

    Returns:
        Persons in order of their first appearance, the best detection first.
    """
    tracks: list[_Track] = []
    rows: list[Int64[np.ndarray, "f"]] = []
    for number, frame in enumerate(frames):
        detections = {
            int(row): _sighting(frame, int(row), number, (width, height))
            for row in np.flatnonzero(frame.box_scores > 0)
        }
        taken = set()
        for track, row in _matches(tracks, detections, number):
            tracks[track].follow(number, detections[row])
            rows[track][number] = row
            taken.add(row)
        for row in detections.keys() - taken:
            tracks.append(detections[row])
            rows.append(np.full(len(frames), NOT_FOUND, dtype=np.int64))
            rows[-1][number] = row
    return rows


def _matches(
    tracks: Sequence[_Track], detections: dict[int, _Track], frame: int
) -> list[tuple[int, int]]:
    """Pairs of track and detection, each in one at most, that are most alike together."""
    # Only rows whose person is tracked need it, and it takes as long to load as all the rest.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    names = sorted(detections)
    if not tracks or not names:
        return []
    table = np.array(
        [[track.similarity(frame, detections[row]) for row in names] for track in tracks]
    )
    table[table < LEAST_SIMILARITY] = 0.0
    first, second = linear_sum_assignment(table, maximize=True)
    return [(int(i), names[j]) for i, j in zip(first, second, strict=True) if table[i, j] > 0]


def _sighting(frame: Frame, row: int, number: int, size: tuple[int, int]) -> _Track:
    return _Track(
        frame.keypoints[row, BODY_KEYPOINTS] * size,
        frame.scores[row, BODY_KEYPOINTS] > VISIBLE_SCORE,
        frame.boxes[row],
        np.zeros(2),
        number,
    )
