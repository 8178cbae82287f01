from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.tracking import follow_persons
from dispose_stages.training.world.body import BodyShape, pose_joints
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.projection import project
from tests.geometry.crossings import (
    FPS,
    FRAMES,
    HEIGHT,
    WIDTH,
    all_switches,
    crossing,
    detected_frame,
    switches,
)


@pytest.mark.parametrize("figures", [2, 3])
def test_the_driver_is_followed_through_crossings(figures):
    """Few of dozens of crossings take somebody for another; nobody is lost to caution.

    `python -m tests.bench.crossings` counts over hundreds: these are hard ones.
    """
    clips = [crossing(seed, figures) for seed in range(1_000, 1_030)]
    tracks = [follow_persons(clip.frames, HEIGHT, WIDTH) for clip in clips]
    crossings = sum(clip.times for clip in clips)
    assert crossings > 30
    followed = [each[0] for each in tracks]
    assert sum(map(switches, clips, followed)) <= 0.02 * crossings
    assert sum(map(all_switches, clips, tracks)) <= 0.04 * crossings
    for clip, rows in zip(clips, followed, strict=True):
        figure = clip.who[0][rows[0]] if rows[0] >= 0 else None
        there = [n for n, who in enumerate(clip.who) if figure in who.tolist()]
        assert sum(rows[n] >= 0 for n in there) >= 0.9 * len(there)


@pytest.mark.parametrize("seed", [500_002, 500_016, 500_034, 500_051, 500_154])
def test_a_body_of_other_proportions_is_somebody_else(seed):
    """Whoever comes in, at once and at the same pace, where another left, half cut off."""
    clip = crossing(seed, 3)
    tracks = follow_persons(clip.frames, HEIGHT, WIDTH)
    assert switches(clip, tracks[0]) == 0
    assert all_switches(clip, tracks) == 0


@pytest.mark.parametrize("motion", sorted(MOTIONS))
def test_whoever_moves_alone_is_one_person(motion):
    """However quickly: no frame is lost to caution."""
    for seed in range(4):
        rng = np.random.default_rng((seed, 7))
        pose = MOTIONS[motion](np.arange(FRAMES) / FPS, rng)
        joints = project(
            pose_joints(BodyShape.random(rng), pose),
            x=WIDTH / 2,
            ground=460.0,
            scale=350.0,
            tilt=0.1,
        )
        detected = [detected_frame([(points, 350.0)], rng)[0] for points in joints.keypoints]
        (rows,) = follow_persons(detected, HEIGHT, WIDTH)
        found = [bool((frame.box_scores > 0).any()) for frame in detected]
        assert (rows >= 0).tolist() == found


def test_nobody_is_in_two_tracks():
    """Every detection belongs to one person, and every one to somebody."""
    clip = crossing(1_000, 3)
    tracks = follow_persons(clip.frames, HEIGHT, WIDTH)
    for number, frame in enumerate(clip.frames):
        rows = sorted(int(track[number]) for track in tracks if track[number] >= 0)
        assert rows == np.flatnonzero(frame.box_scores > 0).tolist()


def test_a_person_who_was_hidden_comes_back_as_the_same():
    """Frames without a detection are passed over at the person's own speed."""
    clip = crossing(1_000, 2)
    rows = follow_persons(clip.frames, HEIGHT, WIDTH)[0]
    seen = np.flatnonzero(rows >= 0)
    assert np.diff(seen).max() > 1
    assert len({int(clip.who[frame][rows[frame]]) for frame in seen}) == 1


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_short_clip_is_followed(frames):
    """Too short for any speed to be known."""
    clip = crossing(1_000, 2)
    start = next(n for n, who in enumerate(clip.who) if len(who) == 2)
    short = clip.frames[start : start + frames]
    tracks = follow_persons(short, HEIGHT, WIDTH)
    for number, frame in enumerate(short):
        rows = sorted(int(track[number]) for track in tracks if track[number] >= 0)
        assert rows == list(range(frame.persons))
    assert follow_persons([], HEIGHT, WIDTH) == []


def test_frames_without_anybody_have_no_track():
    """The whole-image box is nobody."""
    blank = Frame(np.zeros((1, 134, 2)), np.zeros((1, 134)), np.ones((1, 4)), np.zeros(1))
    assert follow_persons([blank, blank], HEIGHT, WIDTH) == []
