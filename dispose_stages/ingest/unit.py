"""A unit of ``ingest``: a file, looked at as what manifest or configuration say it is."""

from __future__ import annotations

from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Parameters

REVISION = 3
"""Raised when the facts this stage finds change."""


class IngestParams(Params):
    """What a file is expected to be."""

    kind: Literal["image", "video", "weights"]
    reference_frame: int | None = None


def work(_parameters: Parameters, _frames: float, _role: str) -> float:
    """How long a file is shows only when it was looked at."""
    return 1.0


def plan(row: RowPlan) -> None:
    """The files of a row, and those that its scores need besides."""
    own, score = row.row, row.config.score
    image = IngestParams.of(kind="image", reference_frame=own.reference_frame)
    _add(row, "image", image, own.reference_image)
    _add(row, "video", IngestParams.of(kind="video", reference_frame=None), own.driving_video)
    if score.metrics and own.truth_video:
        _add(row, "truth", IngestParams.of(kind="video", reference_frame=None), own.truth_video)
    for group in score.metrics:
        for number, path in enumerate(score.weight_files(group)):
            _add(
                row,
                f"{group}_{number}",
                IngestParams.of(kind="weights", reference_frame=None),
                path,
            )


def _add(row: RowPlan, name: str, params: IngestParams, path: str) -> None:
    row.add(
        f"ingest_{name}",
        params,
        label=path.rsplit("/", 1)[-1],
        near=path,
        sources={"media": path},
    )
