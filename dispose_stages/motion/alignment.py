"""Alignment of driving poses to the reference body (algorithm §3, Q15).

One least-squares line maps the driving keypoints' y to the reference's y over all frames; the
horizontal scale follows from the aspect of both images, the horizontal shift is a mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.artifacts import VISIBLE_SCORE, Frame, MotionField, PoseTrack
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.persons import (
    check_reference,
    is_found,
    select_persons,
    select_reference_person,
)
from dispose_stages.geometry.skeleton import ALIGNMENT_KEYPOINTS, BODY_NAMES
from dispose_stages.motion.unit import MotionParams

_FEW_KEYPOINTS = 2
REFERENCE_INDEX = -1
"""Frame index that stands for the reference in an aligned track."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """``p · scale + shift`` on normalised coordinates.

    Attributes:
        scale: ``(a_x, a_y)``.
        shift: ``(b_x, b_y)``.
        residual: Root mean square residual in y, fraction of the height.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    residual: float

    def __call__(self, points: Float64[np.ndarray, "*axes 2"]) -> Float64[np.ndarray, "*axes 2"]:
        """Aligned coordinates."""
        return np.asarray(points * np.asarray(self.scale) + np.asarray(self.shift))


def fit_alignment(
    reference: Float64[np.ndarray, "k 2"],
    driving: Float64[np.ndarray, "f k 2"],
    *,
    target_aspect: float,
    video_aspect: float,
) -> Alignment:
    """Fit the line.

    Args:
        reference: Normalised keypoints of the reference.
        driving: The same keypoints in the driving frames, hidden ones included.
        target_aspect: Height over width of the target.
        video_aspect: Height over width of the video's frames.

    Raises:
        UnitError: ``alignment_poor`` where the driving keypoints do not differ in height, so that
            no line is defined.
    """
    y = driving[..., 1].reshape(-1)
    y_reference = np.tile(reference[:, 1], len(driving))
    if not np.ptp(y) > 0.0:
        raise UnitError(
            Reason.ALIGNMENT_POOR, "all driving keypoints are at one height: no scale can be fitted"
        )
    a_y, b_y = (float(value) for value in np.polyfit(y, y_reference, 1))
    a_x = a_y / (video_aspect / target_aspect)
    b_x = float(np.mean(np.tile(reference[:, 0], len(driving)) - driving[..., 0].reshape(-1) * a_x))
    residual = float(np.sqrt(np.mean((a_y * y + b_y - y_reference) ** 2)))
    return Alignment((a_x, a_y), (b_x, b_y), residual)


def check_alignment(alignment: Alignment, params: MotionParams) -> None:
    """Refuse an alignment out of bounds.

    Raises:
        UnitError: ``alignment_poor``, saying which bound.
    """
    values = (*alignment.scale, *alignment.shift, alignment.residual)
    if not all(math.isfinite(value) for value in values):
        raise UnitError(Reason.ALIGNMENT_POOR, "the alignment is not finite")
    scale, least, most = alignment.scale[1], params.min_alignment_scale, params.max_alignment_scale
    if not least <= scale <= most:
        raise UnitError(
            Reason.ALIGNMENT_POOR,
            f"vertical scale {scale:.3g} is outside {least:g} to {most:g}",
        )
    residual, most = alignment.residual, params.max_alignment_residual
    if residual > most:
        raise UnitError(
            Reason.ALIGNMENT_POOR, f"residual {residual:.3g} of the height exceeds {most:g}"
        )


def enters_fit(frame: Frame, person: int, rule: str) -> bool:
    """Whether the fit may look at a frame.

    With ``first``, as in the original, at frames that show exactly one person; a person that was
    chosen by another rule may be looked at in company. Where nobody was found, the original takes
    the whole image for a person.
    """
    return person >= 0 and (rule != "first" or frame.persons == 1)


def fitting_keypoints(frame: Frame, person: int) -> list[int]:
    """Keypoints of the reference that a body is measured by."""
    scores = frame.scores[person]
    return [index for index in ALIGNMENT_KEYPOINTS if scores[index] > VISIBLE_SCORE]


def _fitting_points(
    driving: PoseTrack,
    persons: Int64[np.ndarray, "f"],
    rule: str,
    keypoints: Sequence[int],
    *,
    found_only: bool,
) -> Float64[np.ndarray, "f k 2"]:
    """Keypoints of the driving person in the frames the fit looks at."""
    points = []
    for index, row in enumerate(persons.tolist()):
        frame = driving[index]
        if enters_fit(frame, row, rule) and (not found_only or is_found(frame, row)):
            points.append(frame.keypoints[row, list(keypoints)])
    if points:
        return np.stack(points)
    if rule == "first":
        raise UnitError(
            Reason.NO_SINGLE_PERSON_FRAME,
            f"none of {len(driving)} driving frames shows exactly one person; "
            "set motion.person, or driver_person of the row, to choose one",
        )
    raise UnitError(
        Reason.PERSON_LOST, f"person {rule!r} is in none of {len(driving)} driving frames"
    )


def align_pair(reference: PoseTrack, driving: PoseTrack, params: MotionParams) -> MotionField:
    """Choose the driving person, fit the alignment and apply it to every driving pose.

    Args:
        reference: Pose of the reference image at target size (one frame).
        driving: Poses of the driving video.

    Returns:
        What drives the pair, as yet without dense flow.

    Raises:
        UnitError: ``no_person_reference``, ``pose_too_sparse``, ``no_single_person_frame``,
            ``person_lost`` or ``alignment_poor``.
    """
    still = reference[0]
    person = select_reference_person(still, params.reference_person or params.person)
    check_reference(
        still, person, params.min_visible_keypoints, allow_no_person=params.allow_no_person
    )
    keypoints = fitting_keypoints(still, person)
    if not keypoints:
        raise UnitError(
            Reason.POSE_TOO_SPARSE, "only elbows and wrists are visible in the reference"
        )
    persons = select_persons(driving, params.person)
    points = _fitting_points(
        driving, persons, params.person, keypoints, found_only=params.fit_found_persons
    )
    with _few_keypoints_said(keypoints):
        alignment = fit_alignment(
            still.keypoints[person, keypoints],
            points,
            target_aspect=reference.height / reference.width,
            video_aspect=driving.height / driving.width,
        )
        check_alignment(alignment, params)
    return MotionField(
        poses=_concatenated(reference, driving, alignment),
        person=np.concatenate([[person], persons]).astype(np.int64),
        cmp_flow=np.empty((0, 2, 0, 0), dtype=np.int16),
        height=reference.height,
        width=reference.width,
        scale=alignment.scale,
        shift=alignment.shift,
        residual=alignment.residual,
    )


@contextmanager
def _few_keypoints_said(keypoints: Sequence[int]) -> Iterator[None]:
    """Name the cause of a poor alignment where the reference gives it next to nothing to fit."""
    try:
        yield
    except UnitError as error:
        if len(keypoints) > _FEW_KEYPOINTS:
            raise
        names = " and ".join(BODY_NAMES[index] for index in keypoints)
        raise UnitError(
            Reason.POSE_TOO_SPARSE,
            f"the reference shows only {names} for the driver to be fitted to ({error}); use a "
            "picture that shows more of one person, head and hips at least",
        ) from None


def _concatenated(reference: PoseTrack, driving: PoseTrack, alignment: Alignment) -> PoseTrack:
    """Reference, then aligned driving frames; boxes follow, in pixels of the target."""
    size = np.asarray([reference.width, reference.height], dtype=np.float64)
    video_size = np.asarray([driving.width, driving.height], dtype=np.float64)
    boxes = alignment(driving.boxes.reshape(-1, 2, 2) / video_size) * size
    offsets = reference.person_offsets[-1] + driving.person_offsets[1:]
    return PoseTrack(
        frame_indices=np.concatenate([[REFERENCE_INDEX], driving.frame_indices]),
        person_offsets=np.concatenate([reference.person_offsets, offsets]),
        keypoints=np.concatenate([reference.keypoints, alignment(driving.keypoints)]),
        scores=np.concatenate([reference.scores, driving.scores]),
        boxes=np.concatenate([reference.boxes, boxes.reshape(-1, 4)]),
        box_scores=np.concatenate([reference.box_scores, driving.box_scores]),
        height=reference.height,
        width=reference.width,
        fps=driving.fps,
    )
