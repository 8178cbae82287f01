from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.tracking import follow_persons
from tests.geometry.crossings import HEIGHT, WIDTH, crossing, switches


@pytest.mark.parametrize("figures", [2, 3])
def test_the_driver_is_followed_through_crossings(figures):
    """Of dozens of crossings, few take the followed person for another.

    Over 60 clips of fresh seeds each it is 3 of 78 with two figures and 9 of 128 with three.
    """
    clips = [crossing(seed, figures) for seed in range(1_000, 1_030)]
    tracks = [follow_persons(clip.frames, HEIGHT, WIDTH)[0] for clip in clips]
    assert sum(clip.times for clip in clips) > 30
    assert sum(map(switches, clips, tracks)) <= 0.2 * sum(clip.times for clip in clips)


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


def test_frames_without_anybody_have_no_track():
    """The whole-image box is nobody."""
    blank = Frame(np.zeros((1, 134, 2)), np.zeros((1, 134)), np.ones((1, 4)), np.zeros(1))
    assert follow_persons([blank, blank], HEIGHT, WIDTH) == []
