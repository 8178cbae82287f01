"""What a group of metrics looks at: a clip, its truth, its aligned pose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.artifacts import BODY_KEYPOINTS, Frame, MotionField, PoseTrack
from dispose_stages.geometry.frames import own_frames
from dispose_stages.missing import Missing
from dispose_stages.score.clip import FramePair
from dispose_stages.score.measurement import Measurement
from dispose_stages.score.similarity import Mask, Pixels
from dispose_stages.score.truth import unusable
from dispose_stages.score.unit import ScoreParams


@dataclass(frozen=True, slots=True)
class Clip:
    """What a group of metrics looks at; frames are read anew at every call.

    Attributes:
        motion: Aligned poses; reference first.
        shown: Frames of the result, or the true ones where features of these are wanted.
        truth: True frames in the result's place and where they are defined; None without.
        without_truth: Why there are none.
        reference: The reference at the result's size.
        lost: Whether the video lacks some of the frames that were made: it is interpolated.
    """

    motion: MotionField
    shown: Callable[[], Iterator[Pixels]]
    truth: Callable[[], Iterator[tuple[Pixels, Mask | None]]] | None
    without_truth: Missing | None
    reference: Callable[[], Pixels]
    lost: bool = False


def alignment(motion: MotionField) -> Measurement:
    """How the driver was moved to the reference: how far a result may be off its truth."""
    names = ("scale_x", "scale_y", "shift_x", "shift_y")
    values = zip(names, (*motion.scale, *motion.shift), strict=True)
    return Measurement({f"alignment_{name}": value for name, value in values})


def as_moved(motion: MotionField, driving: PoseTrack) -> MotionField:
    """With scale and shift of the pair's own fit, where limbs were moved one by one.

    The one scale and shift (least squares, in pixels of the target) that bring the driver's visible
    body nearest to where ``align: proportions`` has put it; those of the official fit are of no
    pose there.

    Args:
        driving: Poses it was made from.
    """
    if motion.retargeting is None or not motion.retargeting.used:
        return motion
    moved, visible = motion.body_track()
    shown = np.flatnonzero(motion.person[1:] >= 0)
    rows = driving.person_offsets[:-1][shown] + motion.person[1:][shown]
    seen = visible[1:][shown] & np.isfinite(moved[1:][shown]).all(axis=-1)
    size = np.array([driving.width, driving.height]) / driving.height
    target = np.array([motion.width, motion.height])
    before = driving.keypoints[rows][:, BODY_KEYPOINTS][seen] * size
    after = moved[1:][shown][seen] * target
    apart = before - before.mean(axis=0)
    scale = float((apart * after).sum() / (apart**2).sum())
    shift = (after.mean(axis=0) - scale * before.mean(axis=0)) / target
    across, down = (scale * size / target).tolist()
    return replace(motion, scale=(across, down), shift=(float(shift[0]), float(shift[1])))


def paired(clip: Clip) -> Iterator[FramePair]:
    """Frames of the result, each with the true one where there is a truth."""
    if clip.truth is None:
        return (FramePair(frame) for frame in clip.shown())
    return (
        FramePair(result, truth, mask)
        for result, (truth, mask) in zip(clip.shown(), clip.truth(), strict=True)
    )


def delivered_frames(
    params: ScoreParams, inputs: Mapping[str, Any], frames: int
) -> Sequence[int] | None:
    """Where what was made is in the delivered video; None if it is interpolated and not all is.

    Args:
        inputs: Results of the unit's roles.
        frames: How many were made.
    """
    video = inputs["video"].facts if params.shown == "delivered" else {}
    if "made_fps" not in video:
        return range(frames)
    return own_frames(frames, float(video["made_fps"]), float(video["fps"]))


def absent(params: ScoreParams, clip: Clip) -> dict[str, Missing]:
    """Why nothing can be measured, by the metric that is stated instead; empty if something can."""
    if params.shown == "truth" and clip.truth is None:
        return {f"{params.group}_features": clip.without_truth or Missing.NO_TRUTH}
    return {params.group: Missing.INTERPOLATED} if clip.lost else {}


def truth_problem(
    truth: Mapping[str, Any], driver: Mapping[str, Any], motion: MotionField
) -> Missing | None:
    """Why a truth cannot be compared with, from what ingest found in both videos."""
    return unusable(
        last_index=int(motion.poses.frame_indices[1:].max()),
        frames=truth["frames"],
        fps=truth["fps"],
        driver_fps=driver["fps"],
        aspect=truth["width"] / truth["height"],
        driver_aspect=driver["width"] / driver["height"],
    )


def driving(motion: MotionField) -> tuple[PoseTrack, Int64[np.ndarray, "f"]]:
    """Aligned poses and rows of the driving frames alone."""
    track = motion.poses
    frames = [track[index] for index in range(1, len(track))]
    indices = track.frame_indices[1:].tolist()
    return (
        PoseTrack.from_frames(frames, indices, track.height, track.width, track.fps),
        motion.person[1:],
    )


def best_detection(
    frame: Frame, size: Float64[np.ndarray, "2"]
) -> tuple[Float64[np.ndarray, "134 2"], Float64[np.ndarray, "134"]]:
    """Keypoints (pixels) and scores of the best detection; none where nobody was detected."""
    seen = frame.scores[0] if frame.box_scores[0] > 0 else np.zeros_like(frame.scores[0])
    return frame.keypoints[0] * size, seen
