from __future__ import annotations

import math

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.score.keypoints import (
    FoundPose,
    WantedPose,
    body_extent,
    compare_poses,
    head_size,
    person_shares,
)

HEIGHT, WIDTH = 200, 100


def person(seed=0):
    """Keypoints in the frame, all visible."""
    points = np.random.default_rng(seed).uniform(0.2, 0.8, (134, 2))
    points[2], points[3] = (0.3, 0.1), (0.4, 0.9)  # the body is 160 pixels tall
    return points, np.ones(134)


def track(frames):
    """Frames as lists of (points, scores, box score)."""
    found = [
        Frame(
            np.array([p for p, _, _ in persons]),
            np.array([s for _, s, _ in persons]),
            np.zeros((len(persons), 4)),
            np.array([b for _, _, b in persons], dtype=np.float64),
        )
        for persons in frames
    ]
    return PoseTrack.from_frames(found, list(range(len(found))), HEIGHT, WIDTH, 15.0)


def compared(found, wanted):
    return compare_poses(
        FoundPose.of(track(found)),
        WantedPose.of(track(wanted), np.zeros(len(wanted), dtype=np.int64)),
    )


def test_a_perfect_result():
    """Everything in place, nothing missing; no keypoint unwanted, so none can be spurious."""
    measures = compared([[(*person(), 0.9)]], [[(*person(), 0.9)]])
    for part in ("body", "hands", "face"):
        assert measures[f"pck_005_{part}"].pooled == 1
        assert measures[f"akd_{part}"].pooled == 0
        assert measures[f"missing_{part}"].pooled == 0
        assert math.isnan(measures[f"spurious_{part}"].pooled)


def test_tolerances_are_shares_of_the_body_in_pixels():
    """160 pixels tall: 16 is right by a tenth and wrong by a twentieth; 17 is wrong by both."""
    points, scores = person()
    for pixels, tenth, twentieth in ((7.9, 1, 1), (15.9, 1, 0), (16.1, 0, 0)):
        off = points + np.array([pixels / WIDTH, 0])
        measures = compared([[(off, scores, 0.9)]], [[(points, scores, 0.9)]])
        assert measures["pck_010_body"].pooled == tenth
        assert measures["pck_005_hands"].pooled == twentieth
        assert measures["akd_face"].pooled == pytest.approx(pixels)


def test_missing_and_spurious():
    """A wanted keypoint that is not found is wrong; a found one that nobody wants is spurious."""
    points, scores = person()
    wanted, found = scores.copy(), scores.copy()
    wanted[:6] = 0.1
    found[12:18] = 0.1
    measures = compared([[(points, found, 0.9)]], [[(points, wanted, 0.9)]])
    assert measures["pck_010_body"].pooled == 0.5
    assert measures["missing_body"].pooled == 0.5
    assert measures["spurious_body"].pooled == 1
    assert measures["akd_body"].pooled == 0


def test_a_keypoint_outside_of_the_frame_is_not_wanted():
    """The aligned driver may leave the picture; the result cannot show that."""
    points, scores = person()
    outside = points.copy()
    outside[10] = (0.5, 1.2)
    measures = compared([[(points, scores, 0.9)]], [[(outside, scores, 0.9)]])
    assert measures["missing_body"].count.tolist() == [17]
    assert measures["spurious_body"].pooled == 1


def test_nobody_found():
    """The whole-image box of an empty frame is nobody: all is missing, no distance is known."""
    points, scores = person()
    empty = [(points, scores, 0.0)]
    measures = compared([empty], [[(points, scores, 0.9)]])
    assert measures["pck_010_body"].pooled == 0
    assert measures["missing_body"].pooled == 1
    assert math.isnan(measures["akd_body"].pooled)


def test_the_driver_lost():
    """A frame in which the driving person was not found asks for nothing."""
    points, scores = person()
    full = [(points, scores, 0.9)]
    wanted = WantedPose.of(track([full, full]), np.array([0, -1]))
    measures = compare_poses(FoundPose.of(track([full, full])), wanted)
    assert measures["pck_010_body"].count.tolist() == [18, 0]
    assert np.isnan(measures["pck_010_body"].per_frame[1])
    assert np.isnan(body_extent(wanted)[1])


def test_a_clip_is_the_share_of_its_keypoints():
    """Not the mean of the frames' shares."""
    points, scores = person()
    few = scores.copy()
    few[6:] = 0.0
    far = points + 10
    measures = compared(
        [[(points, scores, 0.9)], [(far, scores, 0.9)]],
        [[(points, scores, 0.9)], [(points, few, 0.9)]],
    )
    tally = measures["pck_010_body"]
    assert tally.per_frame.tolist() == [1, 0]
    assert tally.pooled == 18 / 24


def test_head_size_and_persons():
    """Median length from nose to neck; shares of frames by how many people they show."""
    points, scores = person()
    points[0], points[1] = (0.5, 0.2), (0.5, 0.3)
    one = (points, scores, 0.9)
    wanted = WantedPose.of(track([[one]]), np.zeros(1, dtype=np.int64))
    assert head_size(wanted) == pytest.approx(20)
    hidden = scores.copy()
    hidden[0] = 0
    assert math.isnan(
        head_size(WantedPose.of(track([[(points, hidden, 0.9)]]), np.zeros(1, dtype=np.int64)))
    )
    found = FoundPose.of(track([[one], [one, one], [(points, scores, 0.0)], [one]]))
    assert person_shares(found) == {
        "persons_one": 0.5,
        "persons_more": 0.25,
        "persons_none": 0.25,
    }
