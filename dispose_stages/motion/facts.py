"""What a motion artifact says of its pair, for tables and warnings.

All of it follows from the artifact and the unit's parameters, so a found artifact tells the same as
one just computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float64

from dispose_stages.artifacts import Frame, MotionField, Retargeting
from dispose_stages.errors import UnitError, WarningCode
from dispose_stages.geometry.persons import is_found, visible_keypoints
from dispose_stages.geometry.retarget.fit import uncertainty
from dispose_stages.motion.alignment import enters_fit, fit_alignment, fitting_keypoints

FIT_TOLERANCE = 0.03
"""Share of size, or of the target's side, by which frames without a person may change the fit."""


def pair_facts(field: MotionField) -> dict[str, float]:
    """Numbers about detection and alignment.

    ``driver_score`` is the mean detection score over the driving frames in which the person was
    found; offsets and residual are fractions of the target's size.
    """
    reference, person = field.poses[0], int(field.person[0])
    scores = [float(f.box_scores[row]) for f, row in _driving(field) if is_found(f, row)]
    frames = len(field.poses) - 1
    return {
        "reference_score": float(reference.box_scores[person]),
        "driver_score": math.fsum(scores) / len(scores) if scores else 0.0,
        "reference_persons": int((reference.box_scores > 0).sum()),
        "reference_keypoints": visible_keypoints(reference, person),
        "alignment_scale_x": field.scale[0],
        "alignment_scale_y": field.scale[1],
        "alignment_offset_x": field.shift[0],
        "alignment_offset_y": field.shift[1],
        "alignment_residual": field.residual,
        "no_person_share": (frames - len(scores)) / frames if frames else 0.0,
        **(_retarget_facts(field.retargeting) if field.retargeting else {}),
    }


def _retarget_facts(measured: Retargeting) -> Mapping[str, float]:
    facts = {
        "retarget_body": measured.body,
        "retarget_distinct": measured.distinct,
        "retarget_uncertain": uncertainty(measured.spread, measured.in_reference),
        "retarget_residual": measured.residual,
        "retarget_ground_slip": measured.ground_slip,
        "retarget_displacement": measured.displacement,
    }
    return {name: value for name, value in facts.items() if math.isfinite(value)}


def pair_warnings(field: MotionField, rule: str, *, found_only: bool) -> tuple[WarningCode, ...]:
    """What is to be said of the pair.

    Args:
        field: The artifact.
        rule: Who drives.
        found_only: Whether only frames in which the person was found entered the fit.
    """
    warnings = []
    retargeted = field.retargeting is not None and field.retargeting.used
    if field.retargeting is not None and not retargeted:
        warnings.append(WarningCode.ALIGNED_AS_OFFICIAL)
    # Retargeting measures found persons only, and puts the body in its place itself.
    if not retargeted and not found_only and _nobody_decides(field, rule):
        warnings.append(WarningCode.FIT_WITHOUT_PERSON)
    if not is_found(field.poses[0], int(field.person[0])):
        warnings.append(WarningCode.NO_PERSON_REFERENCE)
    return tuple(warnings)


def _driving(field: MotionField) -> Iterator[tuple[Frame, int]]:
    for index, row in enumerate(field.person.tolist()):
        if index:
            yield field.poses[index], row


def _nobody_decides(field: MotionField, rule: str) -> bool:
    """Whether the fit would be another without the frames in which nobody was found."""
    fitted = [(f, row) for f, row in _driving(field) if enters_fit(f, row, rule)]
    found = [(f, row) for f, row in fitted if is_found(f, row)]
    if not found or len(found) == len(fitted):
        return bool(fitted) and not found
    reference, person = field.poses[0], int(field.person[0])
    keypoints = fitting_keypoints(reference, person)
    points: Float64[np.ndarray, "f k 2"] = np.stack([f.keypoints[r, keypoints] for f, r in found])
    try:  # the poses are aligned already, so this is the change
        change = fit_alignment(
            reference.keypoints[person, keypoints], points, target_aspect=1.0, video_aspect=1.0
        )
    except UnitError:
        return True
    centre = points.mean(axis=(0, 1))
    moved = np.abs(change(centre) - centre).max()
    return bool(abs(change.scale[1] - 1.0) > FIT_TOLERANCE or moved > FIT_TOLERANCE)
