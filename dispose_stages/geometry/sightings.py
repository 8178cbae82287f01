"""Persons as they are seen frame by frame, and how well a sighting fits a person's track.

Costs are negative logarithms of likelihoods, in the mean over keypoints: how far these are from
where the track leads, in units of a tolerance that grows with the body and the gap, and how
unlike the body is. All of a clip's sightings lie in common arrays and are known by their index,
so that costs of many are computed at once.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame
from dispose_stages.geometry.limbs import measured_limbs, unlike

NONE = -1
"""Where a window lacks a sighting."""
WINDOW = 8
TRUNK = np.array([1, 2, 5, 8, 11])
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
BODY_MOST = 4.0
"""That one sighting's body can cost: postures change it, so it never decides alone."""
_ALONE_COST = 4.0
"""Of a sighting in a track that has no two sightings to go by."""
_COMMON = 4
"""Keypoints that must be visible in both, else boxes are compared."""

Indices = Int64[np.ndarray, "n"]
Costs = Float64[np.ndarray, "n"]


@dataclass(frozen=True, slots=True)
class Sightings:
    """Everybody whom the detector found in a clip, by frame and row.

    Attributes:
        frame: Which frame.
        row: Among the frame's persons.
        points: Body keypoints, pixels.
        seen: Which of them are visible.
        box: Corners, pixels.
        size: The box's longer side, pixels.
        limbs: From `measured_limbs`.
    """

    frame: Int64[np.ndarray, "s"]
    row: Int64[np.ndarray, "s"]
    points: Float64[np.ndarray, "s 18 2"]
    seen: Bool[np.ndarray, "s 18"]
    box: Float64[np.ndarray, "s 2 2"]
    size: Float64[np.ndarray, "s"]
    limbs: Float64[np.ndarray, "s 3 6"]

    @classmethod
    def of(cls, frames: Sequence[Frame], height: int, width: int) -> Sightings:
        """All but the whole-image box of a frame without anybody."""
        rows = [np.flatnonzero(frame.box_scores > 0) for frame in frames]
        pairs = list(zip(frames, rows, strict=True))
        points = np.concatenate([f.keypoints[r][:, BODY_KEYPOINTS] for f, r in pairs])
        scores = np.concatenate([f.scores[r][:, BODY_KEYPOINTS] for f, r in pairs])
        box = np.concatenate([f.boxes[r] for f, r in pairs]).reshape(-1, 2, 2)
        points, seen = points * (width, height), scores > VISIBLE_SCORE
        return cls(
            frame=np.repeat(np.arange(len(frames)), [len(each) for each in rows]),
            row=np.concatenate(rows),
            points=points,
            seen=seen,
            box=box,
            size=np.maximum(np.ptp(box, axis=1).max(axis=-1), 1.0),
            limbs=measured_limbs(points, seen),
        )

    def speeds(self, windows: Int64[np.ndarray, "n w"]) -> Float64[np.ndarray, "n 2"]:
        """Pixels per frame of the trunk, which swings less than limbs; of the box where it hides.

        One slope is fitted to all joints of a window together.
        """
        there = windows != NONE
        weights = self.seen[windows[..., None], TRUNK] & there[..., None]
        weights &= weights.sum(axis=1, keepdims=True) >= 2
        hidden = ~weights.any(axis=(1, 2))
        weights = np.concatenate([weights, (there & hidden[:, None])[..., None]], axis=-1)
        middles = self.box[windows].mean(axis=2)[:, :, None]
        places = np.concatenate([self.points[windows[..., None], TRUNK], middles], axis=2)
        times = self.frame[windows][..., None]
        counts = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
        away = (times - (weights * times).sum(axis=1, keepdims=True) / counts) * weights
        center = (weights[..., None] * places).sum(axis=1, keepdims=True) / counts[..., None]
        spread = (away**2).sum(axis=(1, 2))
        slope = (away[..., None] * (places - center)).sum(axis=(1, 2))
        return np.asarray(slope / np.where(spread > 0, spread, 1.0)[:, None])

    def ways(
        self,
        last: Indices,
        motion: Float64[np.ndarray, "n 2"],
        others: Indices,
        known: Bool[np.ndarray, "n"],
    ) -> tuple[Costs, Costs]:
        """Costs of having gone straight on, and of having stopped or turned about.

        Where more places are within the tolerance, each is less likely.

        Args:
            last: Whom a track ends or begins with.
            motion: Its speed there.
            others: Who may be the same in another frame.
            known: Whether the speed is.
        """
        gap = self.frame[others] - self.frame[last]
        wait = np.maximum(np.abs(gap), 1)
        looser = np.where(known, 1 + _LOOSENING * (wait - 1), wait**0.5)
        tolerance = np.where(known, _NEAR, _UNKNOWN) * looser
        straight = self._costs(last, others, motion * gap[:, None], tolerance) + np.log(looser)
        still = self._costs(last, others, np.zeros_like(motion), _TURN_REACH * wait**0.5)
        return straight, _TURN_COST + still + 0.5 * np.log(wait)

    def _costs(
        self,
        first: Indices,
        others: Indices,
        moved: Float64[np.ndarray, "n 2"],
        tolerance: Float64[np.ndarray, "n"],
    ) -> Costs:
        """Of the others being the first, moved by so many pixels; tolerance in body sizes."""
        reach = tolerance * np.sqrt(self.size[first] * self.size[others])
        common = self.seen[first] & self.seen[others]
        by_points = _terms(self.points[others] - self.points[first], moved, reach)
        by_box = _terms(self.box[others] - self.box[first], moved, reach).mean(axis=1)
        count = common.sum(axis=1)
        mean = (by_points * common).sum(axis=1) / np.maximum(count, 1)
        return np.asarray(np.where(count >= _COMMON, mean, by_box))


def _terms(
    step: Float64[np.ndarray, "n k 2"],
    moved: Float64[np.ndarray, "n 2"],
    reach: Float64[np.ndarray, "n"],
) -> Float64[np.ndarray, "n k"]:
    squares = ((step - moved[:, None]) ** 2).sum(axis=-1)
    return np.asarray(np.minimum(0.5 * squares / reach[:, None] ** 2, _MOST))


class Track:
    """What is taken for one person.

    Attributes:
        clip: Whose sightings.
        seen: Indices of sightings, ascending.
        turned: From which place in `seen` on the present speed holds.
        limbs: Sum over the sightings.
    """

    limbs: Float64[np.ndarray, "3 6"]

    def __init__(self, clip: Sightings, seen: list[int]) -> None:
        self.clip = clip
        self.keep(seen)

    def last_frame(self) -> int:
        """Where it ends."""
        return int(self.clip.frame[self.seen[-1]])

    def ahead(self) -> list[int]:
        """Sightings that tell the speed at the end."""
        return self.seen[max(len(self.seen) - WINDOW, self.turned) :]

    def behind(self) -> list[int]:
        """Sightings that tell the speed at the start."""
        return self.seen[:WINDOW]

    def insert(self, sighting: int) -> None:
        """Add a sighting of a frame that the track lacks."""
        bisect.insort(self.seen, sighting)
        self.limbs = self.limbs + self.clip.limbs[sighting]

    def keep(self, seen: list[int]) -> None:
        """These sightings alone."""
        self.seen, self.turned = seen, 0
        self.limbs = self.clip.limbs[seen].sum(axis=0)

    def follow(self, sighting: int, *, turned: bool) -> None:
        """Go on from a later sighting."""
        self.insert(sighting)
        if turned and len(self.seen) > 3:
            self.turned = len(self.seen) - 2

    def costs_within(self, sightings: Indices) -> Costs:
        """Of sightings anywhere in the track, each from those before it or those after."""
        own = np.array(self.seen)
        place = np.searchsorted(own, sightings)
        itself = own[np.minimum(place, len(own) - 1)] == sightings
        reach = np.arange(WINDOW)
        places = np.stack([place[:, None] - WINDOW + reach, (place + itself)[:, None] + reach])
        inside = (places >= 0) & (places < len(own))
        windows = np.where(inside, own[np.where(inside, places, 0)], NONE).reshape(-1, WINDOW)
        known = (windows != NONE).sum(axis=1) > 1
        last = np.where(known, np.concatenate(_nearest(windows)), 0)
        motion = self.clip.speeds(windows)
        ways = self.clip.ways(last, motion, np.tile(sightings, 2), np.ones_like(known))
        costs = np.where(known, np.minimum(*ways), np.inf).reshape(2, -1).min(axis=0)
        bodies = np.minimum(unlike(self.limbs, self.clip.limbs[sightings]), BODY_MOST)
        return np.asarray(np.where(np.isinf(costs), _ALONE_COST, costs) + bodies)


def _nearest(windows: Int64[np.ndarray, "n w"]) -> tuple[Indices, Indices]:
    """Of the windows before, the last sightings; of those after, the first."""
    half = len(windows) // 2
    return windows[:half, -1], windows[half:, 0]


def padded(windows: Sequence[Sequence[int]]) -> Int64[np.ndarray, "n w"]:
    """Windows as rows, `NONE` where they are short."""
    rows = np.full((len(windows), WINDOW), NONE)
    for row, window in zip(rows, windows, strict=True):
        row[: len(window)] = window
    return rows
