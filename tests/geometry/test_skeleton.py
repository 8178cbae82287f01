from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.geometry.skeleton import (
    ALIGNMENT_KEYPOINTS,
    BODY_COLOURS,
    HAND_COLOURS,
    HAND_EDGES,
    LIMBS,
    WHOLEBODY_KEYPOINTS,
    WHOLEBODY_NAMES,
    to_openpose,
    to_wholebody,
)

OPENPOSE_NAMES = [
    "nose",
    "neck",
    "r_shoulder",
    "r_elbow",
    "r_wrist",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "r_hip",
    "r_knee",
    "r_ankle",
    "l_hip",
    "l_knee",
    "l_ankle",
    "r_eye",
    "l_eye",
    "r_ear",
    "l_ear",
]
COCO_NAMES = [
    "nose",
    "l_eye",
    "r_eye",
    "l_ear",
    "r_ear",
    "l_shoulder",
    "r_shoulder",
    "l_elbow",
    "r_elbow",
    "l_wrist",
    "r_wrist",
    "l_hip",
    "r_hip",
    "l_knee",
    "r_knee",
    "l_ankle",
    "r_ankle",
]


def numbered(score=0.9):
    """Keypoint i of 133 at (i, 1000 + i)."""
    index = np.arange(133.0)
    return np.stack([index, 1000 + index], axis=-1)[None], np.full((1, 133), score)


def test_every_body_point_lands_where_openpose_has_it():
    """Names agree, not just numbers."""
    points, _ = to_openpose(*numbered())
    for place, name in enumerate(OPENPOSE_NAMES):
        expected = 5.5 if name == "neck" else COCO_NAMES.index(name)
        assert points[0, place, 0] == expected, name


def test_feet_face_and_hands_keep_their_order():
    """Everything behind the neck moves up by one."""
    points, _ = to_openpose(*numbered())
    assert points[0, 18:, 0].tolist() == list(range(17, 133))


@pytest.mark.parametrize(
    ("left", "right", "expected"), [(0.31, 0.9, 1.0), (0.3, 0.9, 0.0), (0.9, 0.1, 0.0)]
)
def test_neck_is_seen_if_both_shoulders_are(left, right, expected):
    """Score 1 or 0, with a strict threshold (Q14)."""
    points, scores = numbered()
    scores[0, 5], scores[0, 6] = left, right
    assert to_openpose(points, scores)[1][0, 1] == expected


def test_inputs_are_not_changed():
    """The mapping copies."""
    points, scores = numbered()
    before = points.copy(), scores.copy()
    to_openpose(points, scores)
    assert np.array_equal(points, before[0])
    assert np.array_equal(scores, before[1])


def test_tables_fit_one_another():
    """17 limbs, 18 colours, 20 hand edges over 21 points, 14 alignment keypoints."""
    assert (len(LIMBS), len(BODY_COLOURS), len(HAND_EDGES)) == (17, 18, 20)
    assert len(HAND_COLOURS) == 20
    assert {point for edge in HAND_EDGES for point in edge} == set(range(21))
    assert set(range(18)) - set(ALIGNMENT_KEYPOINTS) == {3, 4, 6, 7}


def test_wholebody_order_is_the_inverse_of_the_openpose_order():
    """Every keypoint comes back to its place and name; the neck is dropped."""
    points, scores = numbered()
    openpose, _ = to_openpose(points, scores)
    np.testing.assert_array_equal(to_wholebody(openpose), points)
    assert len(WHOLEBODY_NAMES) == len(set(WHOLEBODY_NAMES)) == WHOLEBODY_KEYPOINTS
    short = [name.replace("left_", "l_").replace("right_", "r_") for name in WHOLEBODY_NAMES[:17]]
    assert short == COCO_NAMES
    assert WHOLEBODY_NAMES[91] == "left_hand_root"
    assert WHOLEBODY_NAMES[132] == "right_pinky_finger4"
