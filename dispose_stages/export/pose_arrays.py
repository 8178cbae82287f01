"""Poses and trajectories of a sample, in pixels of its video and under public names."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, PoseTrack
from dispose_stages.geometry.skeleton import WHOLEBODY_NAMES, to_wholebody


def pose_arrays(
    poses: PoseTrack, person: Int64[np.ndarray, "f"], height: int, width: int
) -> dict[str, np.ndarray]:
    """The driver's pose, aligned to the reference, frame by frame of the video.

    Args:
        poses: Of the motion field, reference first.
        person: Row of the driving person within each frame; -1 where it was not found.
        height: Of the video, pixels.
        width: Of the video, pixels.

    Returns:
        ``keypoints`` (f - 1, 133, 2), ``(x, y)`` in pixels, NaN where the person was not found;
        ``scores`` (f - 1, 133); ``frame_indices`` (f - 1) in the driving video; the same for the
        reference without the first axis; ``names`` (133) of the keypoints.
    """
    points, scores = _followed(poses, person)
    points = to_wholebody(points) * np.array([width, height])
    confidence = to_wholebody(scores[..., None])[..., 0]
    return {
        "keypoints": points[1:].astype(np.float32),
        "scores": confidence[1:].astype(np.float32),
        "frame_indices": poses.frame_indices[1:],
        "reference_keypoints": points[0].astype(np.float32),
        "reference_scores": confidence[0].astype(np.float32),
        "names": np.array(WHOLEBODY_NAMES),
    }


def detected_arrays(found: PoseTrack) -> dict[str, np.ndarray]:
    """The pose that was found again in the video: of the best detection in every frame.

    Returns:
        ``detected_keypoints`` (f, 133, 2), ``(x, y)`` in pixels, NaN where nobody was found, and
        ``detected_scores`` (f, 133).
    """
    first = found.person_offsets[:-1]
    person = np.where(found.box_scores[first] > 0, 0, -1)
    points, scores = _followed(found, person)
    points = to_wholebody(points) * np.array([found.width, found.height])
    return {
        "detected_keypoints": points.astype(np.float32),
        "detected_scores": to_wholebody(scores[..., None])[..., 0].astype(np.float32),
    }


def trajectory_arrays(
    poses: PoseTrack, person: Int64[np.ndarray, "f"], height: int, width: int
) -> dict[str, np.ndarray]:
    """What the sparse motion field is made of: body keypoints from the reference on.

    Args:
        poses: As in `pose_arrays`.
        person: As in `pose_arrays`.
        height: Of the video, pixels.
        width: Of the video, pixels.

    Returns:
        ``points`` (f, 18, 2) in OpenPose order, ``(x, y)`` in pixels, frame 0 the reference, and
        ``visible`` (f, 18).
    """
    points, scores = _followed(poses, person)
    track: Float32[np.ndarray, "f 18 2"] = (
        points[:, BODY_KEYPOINTS] * np.array([width, height])
    ).astype(np.float32)
    return {"points": track, "visible": scores[:, BODY_KEYPOINTS] > VISIBLE_SCORE}


def _followed(
    poses: PoseTrack, person: Int64[np.ndarray, "f"]
) -> tuple[Float64[np.ndarray, "f 134 2"], Float64[np.ndarray, "f 134"]]:
    """Keypoints and scores of the driving person; NaN and 0 where it was not found."""
    rows = poses.person_offsets[:-1] + person
    found = person >= 0
    points = np.full((len(poses), 134, 2), np.nan)
    scores = np.zeros((len(poses), 134))
    points[found] = poses.keypoints[rows[found]]
    scores[found] = poses.scores[rows[found]]
    return points, scores
