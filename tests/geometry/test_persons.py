from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.errors import ConfigError, Reason, UnitError
from dispose_stages.geometry.persons import (
    check_reference,
    select_persons,
    select_reference_person,
)


def frame(*boxes, detected=True):
    """Persons with these boxes, best first; their keypoints are in the middle."""
    count = len(boxes)
    corners = np.asarray(boxes, dtype=float).reshape(count, 1, 2, 2)
    return Frame(
        np.repeat(corners.mean(axis=2) / 100, 134, axis=1),
        np.full((count, 134), 0.9),
        np.asarray(boxes, dtype=float).reshape(count, 4),
        np.linspace(0.9, 0.5, count) if detected else np.zeros(count),
    )


def track(*frames):
    """A video of these frames."""
    return PoseTrack.from_frames(list(frames), list(range(len(frames))), 100, 100, 25.0)


SMALL, LARGE, FAR = (0, 0, 10, 10), (20, 20, 60, 90), (70, 0, 95, 30)


def test_first_is_the_best_detection():
    """Whatever its box; nobody is -1."""
    assert select_persons(track(frame(SMALL, LARGE), frame(FAR), frame()), "first").tolist() == [
        0,
        0,
        -1,
    ]


def test_largest_is_the_largest_box():
    """Frame by frame."""
    rows = select_persons(track(frame(SMALL, LARGE), frame(LARGE, FAR), frame()), "largest")
    assert rows.tolist() == [1, 0, -1]


def test_index_counts_from_zero():
    """A frame with fewer persons does not show that one."""
    assert select_persons(track(frame(SMALL, LARGE), frame(FAR)), "index:1").tolist() == [1, -1]


def test_tracked_follows_a_person_whose_rank_changes():
    """The best detection of the first frame keeps its identity when the order flips."""
    moved = (22, 21, 63, 92)
    rows = select_persons(track(frame(LARGE, FAR), frame(FAR, moved), frame(moved, FAR)), "tracked")
    assert rows.tolist() == [0, 1, 0]


def test_tracked_waits_for_a_person_that_is_lost():
    """Frames without a detection, or with strangers only, are -1; the person is found again."""
    whole = frame((0, 0, 100, 100), detected=False)
    rows = select_persons(
        track(whole, frame(LARGE), whole, frame(FAR), frame(FAR, LARGE)), "tracked"
    )
    assert rows.tolist() == [-1, 0, -1, -1, 1]


@pytest.mark.parametrize("rule", ["nobody", "index:", "index:-1", "index:x"])
def test_unknown_rules_are_refused(rule):
    """A message that names the four."""
    with pytest.raises(ConfigError, match="tracked"):
        select_persons(track(frame(SMALL)), rule)


def test_reference_person():
    """Best, largest, or the N-th with a fallback to the best."""
    still = frame(SMALL, LARGE)
    chosen = [select_reference_person(still, r) for r in ("first", "tracked", "largest", "index:1")]
    assert chosen == [0, 0, 1, 1]
    assert select_reference_person(still, "index:5") == 0


def test_reference_without_anybody():
    """An empty frame has a typed reason."""
    with pytest.raises(UnitError) as caught:
        select_reference_person(frame(), "first")
    assert caught.value.reason is Reason.NO_PERSON_REFERENCE


@pytest.mark.parametrize(
    ("detected", "reason"),
    [(True, Reason.POSE_TOO_SPARSE), (False, Reason.NO_PERSON_REFERENCE)],
)
def test_too_few_keypoints(detected, reason):
    """A detected person is sparse; the whole-image box of nobody is nobody."""
    still = frame(LARGE, detected=detected)
    still.scores[:] = 0.1
    still.scores[0, :4] = 0.8
    check_reference(still, 0, 4)
    with pytest.raises(UnitError) as caught:
        check_reference(still, 0, 5)
    assert caught.value.reason is reason
