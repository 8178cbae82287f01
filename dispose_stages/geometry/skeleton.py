"""Keypoint layouts: COCO-WholeBody (133), its 134-point OpenPose order, limbs and colours.

In the 134-point order 0-17 are the OpenPose body (1 is the neck), 18-23 the feet, 24-91 the face,
92-112 the left hand and 113-133 the right hand (algorithm §2, §4).
"""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float64

from dispose_stages.artifacts import VISIBLE_SCORE

WHOLEBODY_KEYPOINTS = 133
NECK = 17
"""Where the neck is inserted in COCO-WholeBody order."""
_SHOULDERS = [5, 6]
_OPENPOSE_TARGETS = [1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17]
_OPENPOSE_SOURCES = [17, 6, 8, 10, 7, 9, 12, 14, 16, 13, 15, 2, 1, 4, 3]

LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Body limbs in drawing order, indices from 0."""

BODY_COLOURS: tuple[tuple[int, int, int], ...] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""Colour of a limb or of a keypoint, by its index."""

HAND_EDGES: tuple[tuple[int, int], ...] = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)
"""Wrist to fingertip, thumb first."""

HAND_COLOURS: tuple[tuple[float, float, float], ...] = tuple(
    colorsys.hsv_to_rgb(edge / len(HAND_EDGES), 1.0, 1.0) for edge in range(len(HAND_EDGES))
)
"""Colour of a hand's edge, 0 to 1."""

_HAND_NAMES = (
    "hand_root",
    *(
        f"{finger}{joint}"
        for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
        for joint in (1, 2, 3, 4)
    ),
)
WHOLEBODY_NAMES: tuple[str, ...] = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("left_big_toe", "left_small_toe", "left_heel"),
    *("right_big_toe", "right_small_toe", "right_heel"),
    *(f"face-{point}" for point in range(68)),
    *(f"{side}_{name}" for side in ("left", "right") for name in _HAND_NAMES),
)
"""Names of the 133 keypoints of COCO-WholeBody, in its order."""

BODY_NAMES: tuple[str, ...] = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist"),
    *("left shoulder", "left elbow", "left wrist", "right hip", "right knee", "right ankle"),
    *("left hip", "left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
"""The 18 body keypoints in OpenPose order, for people."""

ALIGNMENT_KEYPOINTS: tuple[int, ...] = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
"""Body keypoints that alignment looks at: all but elbows and wrists (algorithm §3)."""


def to_openpose(
    keypoints: Float64[np.ndarray, "n 133 2"], scores: Float64[np.ndarray, "n 133"]
) -> tuple[Float64[np.ndarray, "n 134 2"], Float64[np.ndarray, "n 134"]]:
    """Insert the neck and bring the body into OpenPose order (algorithm §2, Q14).

    Args:
        keypoints: COCO-WholeBody points, any unit.

    Returns:
        Points and scores in 134-point order. The neck is the middle of both shoulders; its score
        is 1 if both shoulders are visible, else 0.
    """
    points = keypoints.astype(np.float64)
    confidence = scores.astype(np.float64)
    neck = points[:, _SHOULDERS].mean(axis=1)
    neck_score = np.all(confidence[:, _SHOULDERS] > VISIBLE_SCORE, axis=1).astype(np.float64)
    points = np.insert(points, NECK, neck, axis=1)
    confidence = np.insert(confidence, NECK, neck_score, axis=1)
    mapped_points, mapped_scores = points.copy(), confidence.copy()
    mapped_points[:, _OPENPOSE_TARGETS] = points[:, _OPENPOSE_SOURCES]
    mapped_scores[:, _OPENPOSE_TARGETS] = confidence[:, _OPENPOSE_SOURCES]
    return mapped_points, mapped_scores


def to_wholebody(
    openpose: Float64[np.ndarray, "*axes 134 c"],
) -> Float64[np.ndarray, "*axes 133 c"]:
    """Inverse of `to_openpose` for anything given per keypoint; the neck is dropped."""
    return np.asarray(openpose[..., _WHOLEBODY_SOURCES, :])


def _wholebody_sources() -> list[int]:
    """Place in the 134-point order of each COCO-WholeBody keypoint."""
    places = list(range(WHOLEBODY_KEYPOINTS + 1))
    for target, source in zip(_OPENPOSE_TARGETS, _OPENPOSE_SOURCES, strict=True):
        places[source] = target
    del places[NECK]
    return places


_WHOLEBODY_SOURCES = _wholebody_sources()
