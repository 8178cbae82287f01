"""A unit of ``correspondence``: a reference image at a size."""

from __future__ import annotations

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Parameters, person_rules

REVISION = 1
"""Raised when the features this stage computes change."""


class CorrespondenceParams(Params):
    """What decides the features; `seed` is that of the feature noise, not the row's."""

    resolution: int
    person: str
    seed: int
    ensemble: int
    timestep: int
    prompt: str
    keep_feature_maps: bool
    reference_frame: int | None = None


def work(parameters: Parameters, _frames: float, _role: str) -> float:
    """The size of an image."""
    return float(parameters.resolution**2)


def plan(row: RowPlan) -> None:
    """The reference of a row, where it guides."""
    image, parameters = row.row.reference_image, row.row.parameters
    if not parameters.correspondence_guidance:
        return
    row.add(
        "correspondence",
        CorrespondenceParams.of(
            row.config.correspondence,
            parameters,
            person=person_rules(parameters, row.config.motion)[0],
            reference_frame=row.row.reference_frame,
        ),
        label=f"{row.row.image_name} @{parameters.resolution}",
        near=image,
        sources={"image": image},
        reads={"media": "ingest_image", "pose": "pose_image"},
    )
