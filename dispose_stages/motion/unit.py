"""A unit of ``motion``: a pair of reference and driver."""

from __future__ import annotations

from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Align, Compat, Motion, Parameters, person_rules

REVISION = 2
"""Raised when the fields this stage computes change."""


class MotionParams(Params):
    """What decides aligned poses and motion fields."""

    resolution: int
    compat: Compat
    person: str
    """Who drives; also who of the reference is animated, unless that is said below."""
    min_visible_keypoints: int
    max_alignment_residual: float
    min_alignment_scale: float
    max_alignment_scale: float
    allow_no_person: bool = False
    reference_frame: int | None = None
    align: Align = "official"
    grounded: Literal["line", "feet"] = "line"
    """How ``align: proportions`` finds the floor; as `tracking` below, it never is the former
    again."""
    tracking: Literal["overlap", "limbs"] = "overlap"
    """How ``person: tracked`` follows. No rule but that one follows, and it never by overlap again:
    the value gives its units keys of their own and leaves all others theirs."""
    reference_person: str | None = None
    fit_found_persons: bool = False
    """Only driving frames in which somebody was found enter the fit. Of ``compat: corrected``
    alone, and a field of its own so that the keys of ``official`` stay (decision 0012)."""


def motion_params(
    parameters: Parameters, motion: Motion, reference_frame: int | None = None
) -> MotionParams:
    """What decides the motion of a row with these parameters."""
    corrected = parameters.compat == "corrected"
    reference, driver = person_rules(parameters, motion)
    return MotionParams.of(
        parameters,
        motion,
        reference_frame=reference_frame,
        person=driver,
        reference_person=None if reference == driver else reference,
        grounded="feet" if parameters.align == "proportions" else "line",
        tracking="limbs" if driver == "tracked" else "overlap",
        fit_found_persons=corrected,
    )


def work(parameters: Parameters, frames: float, _role: str) -> float:
    """Frames and their size."""
    return frames * parameters.resolution**2


def plan(row: RowPlan) -> None:
    """The motion of a row's clip."""
    row.add(
        "motion",
        motion_params(row.row.parameters, row.config.motion, row.row.reference_frame),
        label=row.row.label,
        near=row.row.clip,
        sources={"image": row.row.reference_image},
        reads={
            "media": "ingest_image",
            "reference_pose": "pose_image",
            "driving_pose": "pose_video",
        },
    )
