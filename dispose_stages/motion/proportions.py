"""``align: proportions`` on a pair that the official fit has put in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.artifacts import (
    BODY_KEYPOINTS,
    VISIBLE_SCORE,
    MotionField,
    PoseTrack,
)
from dispose_stages.geometry.persons import is_found
from dispose_stages.geometry.retarget.fit import retarget
from dispose_stages.motion.alignment import fitting_keypoints


def align_proportions(official: MotionField, driving: PoseTrack) -> MotionField:
    """The driving person on the reference's limb lengths; everybody else stays where they are.

    Args:
        official: The pair, aligned as a whole.
        driving: Poses of the driving video, not aligned.

    Returns:
        The pair with what was measured; poses are the official ones where the bodies cannot be
        told from like ones.

    Raises:
        UnitError: ``retarget_unfit``: no long bone is seen in both.
    """
    still, person = official.poses[0], int(official.person[0])
    rows = driving.person_offsets[:-1] + official.person[1:]
    shown = official.person[1:] >= 0
    seen = _seen(driving, rows, shown)
    moved = int(official.poses.person_offsets[1]) + rows[shown]
    size = (official.width, official.height)
    points, measured = retarget(
        still.keypoints[person] * size,
        still.scores[person] > VISIBLE_SCORE,
        driving.keypoints[rows[shown]] * (driving.width, driving.height),
        seen,
        fitted=official.scale[1] * official.height / driving.height,
        keypoints=fitting_keypoints(still, person),
        official=official.poses.keypoints[moved] * size,
        height=official.height,
    )
    if not measured.used:
        return replace(official, retargeting=measured)
    return replace(
        official, poses=_moved(official, moved, points / size, seen), retargeting=measured
    )


def _seen(
    driving: PoseTrack, rows: Int64[np.ndarray, "f"], shown: Bool[np.ndarray, "f"]
) -> Bool[np.ndarray, "n 134"]:
    """Visible keypoints; where nobody was found there are none, unless nobody ever was."""
    places = zip(np.flatnonzero(shown).tolist(), rows[shown].tolist(), strict=True)
    found = np.asarray(
        [is_found(driving[f], row - int(driving.person_offsets[f])) for f, row in places],
        dtype=bool,
    )
    visible = driving.scores[rows[shown]] > VISIBLE_SCORE
    return np.asarray(visible & found[:, None] if found.any() else visible)


def _moved(
    official: MotionField,
    rows: Int64[np.ndarray, "n"],
    placed: Float64[np.ndarray, "n 134 2"],
    seen: Bool[np.ndarray, "n 134"],
) -> PoseTrack:
    """Keypoints of these persons replaced; their boxes grow and move as the body in them does."""
    poses, size = official.poses, np.array([official.width, official.height])
    keypoints, boxes = poses.keypoints.copy(), poses.boxes.copy()
    keypoints[rows] = placed
    for row, points, visible in zip(rows.tolist(), placed, seen, strict=True):
        body = np.flatnonzero(visible[BODY_KEYPOINTS])
        if len(body) > 1:
            before, after = poses.keypoints[row, body] * size, points[body] * size
            low, high = before.min(axis=0), before.max(axis=0)
            scale = (np.ptp(after, axis=0) + 1.0) / (high - low + 1.0)
            corners = boxes[row].reshape(2, 2)
            boxes[row] = ((corners - low) * scale + after.min(axis=0)).reshape(-1)
    return replace(poses, keypoints=keypoints, boxes=boxes)
