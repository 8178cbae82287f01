"""Persons as they are seen frame by frame, and how well a sighting fits a person's track.

Costs are negative logarithms of likelihoods, in the mean over keypoints: how far these are from
where the track leads, in units of a tolerance that grows with the body and the gap, and how
unlike the body is.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame
from dispose_stages.geometry.limbs import measured_limbs, unlike

_NEAR = 0.03
"""Distance from where a moving person is expected that costs 0.5, in body sizes."""
_UNKNOWN = 0.06
"""The same for one whose speed is not known."""
_LOOSENING = 0.5
"""How much of the tolerance each further frame of a gap adds."""
_TURN_COST, _TURN_REACH = 3.0, 0.1
"""For somebody who stops or turns about, and the tolerance around where they were."""
_MOST = 12.5
"""That one keypoint can cost, as limbs are mistaken."""
_BODY_MOST = 4.0
"""That one sighting's body can cost."""
_ALONE_COST = 4.0
"""Of a sighting in a track that has no two sightings to go by."""
_WINDOW = 8
TRUNK = [1, 2, 5, 8, 11]
_COMMON = 4
"""Keypoints that must be visible in both, else boxes are compared."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person in one frame.

    Attributes:
        frame: Which frame.
        row: Among the frame's persons.
        points: Body keypoints, pixels.
        seen: Which of them are visible.
        box: Corners, pixels.
        size: The box's longer side, pixels.
        limbs: From `measured_limbs`.
    """

    frame: int
    row: int
    points: Float64[np.ndarray, "18 2"]
    seen: Bool[np.ndarray, "18"]
    box: Float64[np.ndarray, "4"]
    size: float
    limbs: Float64[np.ndarray, "3 6"]

    def cost(
        self, other: Sighting, moved: Float64[np.ndarray, "2"] | float, tolerance: float
    ) -> float:
        """Of the other being this one, moved.

        Args:
            other: Of another frame.
            moved: How far this one is expected to have moved, pixels.
            tolerance: Body sizes.
        """
        common = self.seen & other.seen
        if common.sum() >= _COMMON:
            apart = other.points[common] - self.points[common] - moved
        else:
            apart = (other.box - self.box).reshape(2, 2) - moved
        reach = tolerance * float(np.sqrt(self.size * other.size))
        return float(np.minimum(0.5 * (apart**2).sum(axis=-1) / reach**2, _MOST).mean())


def sightings(frame: Frame, number: int, height: int, width: int) -> list[Sighting]:
    """Everybody whom the detector found; the whole-image box of a frame without anybody is none."""
    found = []
    for row in np.flatnonzero(frame.box_scores > 0).tolist():
        points = frame.keypoints[row, BODY_KEYPOINTS] * (width, height)
        seen = frame.scores[row, BODY_KEYPOINTS] > VISIBLE_SCORE
        box = frame.boxes[row]
        size = max(float(np.ptp(box.reshape(2, 2), axis=0).max()), 1.0)
        found.append(Sighting(number, row, points, seen, box, size, measured_limbs(points, seen)))
    return found


def speed(seen: Sequence[Sighting]) -> Float64[np.ndarray, "2"]:
    """Pixels per frame of the trunk, which swings less than limbs do; of the box where it hides.

    One slope is fitted to all joints together.
    """
    times = np.array([each.frame for each in seen], dtype=np.float64)
    weights = np.stack([each.seen[TRUNK] for each in seen]).astype(np.float64)
    weights[:, weights.sum(axis=0) < 2] = 0.0
    places = np.stack([each.points[TRUNK] for each in seen])
    if not weights.any():
        weights = np.ones((len(seen), 1))
        places = np.stack([each.box.reshape(2, 2).mean(axis=0) for each in seen])[:, None]
    counts = np.maximum(weights.sum(axis=0), 1.0)
    mean_time = (weights * times[:, None]).sum(axis=0) / counts
    mean_place = (weights[..., None] * places).sum(axis=0) / counts[:, None]
    away = (times[:, None] - mean_time) * weights
    spread = float((away**2).sum())
    slope = (away[..., None] * (places - mean_place)).sum(axis=(0, 1))
    return np.asarray(slope / spread if spread else np.zeros(2))


@dataclass(slots=True)
class Track:
    """What is taken for one person.

    Attributes:
        seen: Sightings, ascending.
        turned: Index of the sighting from which on the present speed holds.
        limbs: Sum over the sightings.
    """

    seen: list[Sighting]
    turned: int = 0
    limbs: Float64[np.ndarray, "3 6"] = field(init=False)

    def __post_init__(self) -> None:
        self.limbs = np.sum([each.limbs for each in self.seen], axis=0)

    def ahead(self) -> tuple[Sighting, Float64[np.ndarray, "2"]]:
        """Last sighting and speed there."""
        return self.seen[-1], speed(self.seen[max(len(self.seen) - _WINDOW, self.turned) :])

    def behind(self) -> tuple[Sighting, Float64[np.ndarray, "2"]]:
        """First sighting and speed there."""
        return self.seen[0], speed(self.seen[:_WINDOW])

    def keep(self, seen: list[Sighting]) -> None:
        """Only some sightings."""
        self.seen, self.turned = seen, 0
        self.__post_init__()

    def insert(self, sighting: Sighting) -> None:
        """Add a sighting of a frame that the track lacks."""
        bisect.insort(self.seen, sighting, key=_frame)
        self.limbs = self.limbs + sighting.limbs

    def follow(self, sighting: Sighting) -> None:
        """Go on from a later sighting."""
        straight, turned = _ways(*self.ahead(), sighting, known=len(self.seen) > 2)
        self.insert(sighting)
        if turned < straight and len(self.seen) > 3:
            self.turned = len(self.seen) - 2

    def costs_ahead(self, later: Sequence[Sighting]) -> list[float]:
        """Of going on from each of some later sightings, straight on or having turned."""
        last, motion = self.ahead()
        known = len(self.seen) > 2
        return [min(_ways(last, motion, each, known=known)) + self.unlike(each) for each in later]

    def cost_within(self, sighting: Sighting) -> float:
        """Of a sighting that lies anywhere in the track, from those before it or those after."""
        place = bisect.bisect_left(self.seen, sighting.frame, key=_frame)
        there = place < len(self.seen) and self.seen[place].frame == sighting.frame
        before = self.seen[max(place - _WINDOW, 0) : place]
        after = self.seen[place + there :][:_WINDOW]
        costs = [
            min(_ways(side[end], speed(side), sighting, known=True))
            for side, end in ((before, -1), (after, 0))
            if len(side) > 1
        ]
        return min(costs, default=_ALONE_COST) + self.unlike(sighting)

    def unlike(self, sighting: Sighting) -> float:
        """Cost of the sighting's body; as postures change it, it never decides alone."""
        return min(float(unlike(self.limbs, sighting.limbs)), _BODY_MOST)


def _frame(sighting: Sighting) -> int:
    return sighting.frame


def _ways(
    last: Sighting, motion: Float64[np.ndarray, "2"], sighting: Sighting, *, known: bool
) -> tuple[float, float]:
    """Costs of having gone straight on, and of having stopped or turned about.

    Where more places are within the tolerance, each is less likely.
    """
    gap = sighting.frame - last.frame
    wait = abs(gap)
    looser = 1 + _LOOSENING * (wait - 1) if known else wait**0.5
    tolerance = (_NEAR if known else _UNKNOWN) * looser
    straight = last.cost(sighting, motion * gap, tolerance) + float(np.log(looser))
    turned = last.cost(sighting, 0.0, _TURN_REACH * wait**0.5) + 0.5 * float(np.log(wait))
    return straight, _TURN_COST + turned
