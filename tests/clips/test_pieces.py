from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.clips.pieces import Verdict, find_pieces, scene_samples

LEAST = {"min_seconds": 2.0, "min_motion": 0.02}
FPS, SIZE = 10.0, (200, 100)


def pose(persons=1, *, visible=18, lift=0.0):
    """Persons of 100 pixels' height, whose wrists are lifted."""
    keypoints = np.full((max(persons, 1), 134, 2), 0.5)
    keypoints[:, [4, 7], 1] -= lift
    scores = np.where(np.arange(134) < visible, 0.9, 0.1) * np.ones((max(persons, 1), 1))
    boxes = np.tile([30.0, 50.0, 70.0, 150.0], (max(persons, 1), 1))
    return Frame(keypoints, scores, boxes, np.full(max(persons, 1), 0.8 * (persons > 0)))


def verdicts(*poses, step=5):
    samples = [(step * number, each) for number, each in enumerate(poses)]
    return [(p.first, p.last, p.verdict) for p in find_pieces(samples, SIZE, FPS, **LEAST)]


MOVING = [pose(lift=0.1 * (number % 2)) for number in range(6)]


def test_one_person_who_moves_is_a_clip():
    """From the first to the last frame that shows them."""
    assert verdicts(*MOVING) == [(0, 25, Verdict.CLIP)]


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (pose(0), Verdict.NOBODY),
        (pose(2), Verdict.SEVERAL_PERSONS),
        (pose(visible=7), Verdict.TOO_LITTLE_SEEN),
    ],
)
def test_a_piece_ends_where_something_else_is_seen(other, verdict):
    """What is left out has its reason and its frames."""
    assert verdicts(*MOVING, other, other, *MOVING) == [
        (0, 25, Verdict.CLIP),
        (30, 35, verdict),
        (40, 65, Verdict.CLIP),
    ]


def test_what_is_short_or_still_is_left_out():
    """Length comes first; one keypoint that jumps is no motion."""
    assert verdicts(*MOVING[:4]) == [(0, 15, Verdict.TOO_SHORT)]
    assert verdicts(*[pose()] * 6) == [(0, 25, Verdict.NO_MOTION)]
    jumping = [pose() for _ in range(6)]
    jumping[3].keypoints[0, 4] = 0.9
    assert verdicts(*jumping) == [(0, 25, Verdict.NO_MOTION)]


def test_every_scene_is_looked_at_from_its_first_to_its_last_frame():
    """Every half second between; a scene of one frame once; cuts behind the end are none."""
    assert scene_samples(21, [12], FPS) == [[0, 5, 10, 11], [12, 17, 20]]
    assert scene_samples(3, [1, 2, 9], FPS) == [[0], [1], [2]]
