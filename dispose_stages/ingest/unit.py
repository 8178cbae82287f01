"""A unit of ``ingest``: a media file, looked at as what the manifest says it is."""

from __future__ import annotations

from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan

REVISION = 2
"""Raised when the facts this stage finds change."""


class IngestParams(Params):
    """What a file is expected to be."""

    kind: Literal["image", "video"]


def plan(row: RowPlan) -> None:
    """Both files of a row."""
    for kind, path in (("image", row.row.reference_image), ("video", row.row.driving_video)):
        row.add(
            f"ingest_{kind}",
            IngestParams.of(kind=kind),
            label=path.rsplit("/", 1)[-1],
            near=path,
            sources={"media": path},
        )
