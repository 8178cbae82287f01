"""The tree of limbs, and the points it hangs on beyond the 134-point layout.

A *limb* is a length that a body has once: both thighs are one. Widths look shorter as the body
turns, all others as they lean towards the camera or away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import (
    BODY_KEYPOINTS,
    FACE_KEYPOINTS,
    LEFT_HAND_KEYPOINTS,
    RIGHT_HAND_KEYPOINTS,
)

NECK, PELVIS, HEAD = 1, 134, 135
"""The last two are the middles between the hips and between the ends of the jaw: the middle of the
head as it stands, however it turns."""
POINTS = 136
SHOULDERS, HIPS, KNEES, ANKLES = (2, 5), (8, 11), (9, 12), (10, 13)
NASION, CHIN, NOSE_TIP = (FACE_KEYPOINTS.start + point for point in (27, 8, 30))
JAW = (FACE_KEYPOINTS.start, FACE_KEYPOINTS.start + 16)
_NOSE, _EYES_AND_EARS = 0, (14, 15, 16, 17)
_LEFT_FOOT, _RIGHT_FOOT = (18, 19, 20), (21, 22, 23)


@dataclass(frozen=True, slots=True)
class Limb:
    """A length of the body.

    Attributes:
        name: For people.
        ends: Segments that show it, each two points.
        lean: How much shorter it looks in a single picture on the average, logarithm; 0 for widths.
        turn: Of a width, how uncertain the turn is that it is corrected by, radians.
        long: Whether it is one of those by which a body is told large or small.
    """

    name: str
    ends: tuple[tuple[int, int], ...]
    lean: float = 0.0
    turn: float = 0.0
    long: bool = False


LIMBS: tuple[Limb, ...] = (
    Limb("trunk", ((PELVIS, NECK),), 0.03, long=True),
    Limb("shoulders", (SHOULDERS,), turn=0.25),
    Limb("hips", (HIPS,), turn=0.25),
    Limb("upper arm", ((2, 3), (5, 6)), 0.1, long=True),
    Limb("forearm", ((3, 4), (6, 7)), 0.15, long=True),
    Limb("thigh", ((8, 9), (11, 12)), 0.08, long=True),
    Limb("shin", ((9, 10), (12, 13)), 0.05, long=True),
    Limb("neck", ((NECK, HEAD),), 0.04),
    Limb("head", ((NASION, CHIN),), 0.04),
    Limb("face width", (JAW,), turn=0.05),
)
NAMES = tuple(limb.name for limb in LIMBS)


def _chain() -> tuple[tuple[int, int, int], ...]:
    face = range(FACE_KEYPOINTS.start, FACE_KEYPOINTS.stop)
    hands = ((7, LEFT_HAND_KEYPOINTS), (4, RIGHT_HAND_KEYPOINTS))
    links = [(PELVIS, NECK, "trunk"), (NECK, HEAD, "neck")]
    links += [(NECK, joint, "shoulders") for joint in SHOULDERS]
    links += [(PELVIS, joint, "hips") for joint in HIPS]
    for name in ("upper arm", "forearm", "thigh", "shin"):
        links += [(*ends, name) for ends in LIMBS[NAMES.index(name)].ends]
    links += [(HEAD, point, "head") for point in (_NOSE, *_EYES_AND_EARS, *face)]
    links += [(13, point, "shin") for point in _LEFT_FOOT]
    links += [(10, point, "shin") for point in _RIGHT_FOOT]
    links += [(wrist, p, "forearm") for wrist, hand in hands for p in range(hand.start, hand.stop)]
    return tuple((parent, child, NAMES.index(name)) for parent, child, name in links)


CHAIN = _chain()
"""Parent, child, index of the limb that scales the way between them; parents first. The root is
`PELVIS`, and every other point is a child once."""


def noise_variance(point: int) -> float:
    """Of where a point is found, relative to a body keypoint's: a middle of two has half of it."""
    body = range(BODY_KEYPOINTS.start, BODY_KEYPOINTS.stop)
    known = {NECK: 0.5, PELVIS: 0.5, HEAD: 0.125}
    return known.get(point, 1.0 if point in body else 0.25)


def with_centres(
    points: Float64[np.ndarray, "f 134 2"], seen: Bool[np.ndarray, "f 134"]
) -> tuple[Float64[np.ndarray, "f 136 2"], Bool[np.ndarray, "f 136"]]:
    """`PELVIS` and `HEAD` as further points."""
    pairs = (HIPS, JAW)
    middles = [points[:, pair].mean(axis=1, keepdims=True) for pair in pairs]
    both = [seen[:, pair].all(axis=1, keepdims=True) for pair in pairs]
    return np.concatenate([points, *middles], axis=1), np.concatenate([seen, *both], axis=1)
