"""A unit of ``pose``: an image at a size, or a video at reading parameters."""

from __future__ import annotations

from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Parameters

REVISION = 1
"""Raised when the keypoints this stage computes change."""


class ImagePoseParams(Params):
    """What decides the pose of a reference image."""

    kind: Literal["image"]
    resolution: int
    reference_frame: int | None = None


class VideoPoseParams(Params):
    """What decides the poses of a driving video."""

    kind: Literal["video"]
    sample_stride: int
    start_frame: int
    max_frames: int | None


def work(_parameters: Parameters, frames: float, role: str) -> float:
    """Frames that are looked at."""
    return 1.0 if role == "pose_image" else frames


def plan(row: RowPlan) -> None:
    """Reference and driver of a row."""
    image, video, parameters = row.row.reference_image, row.row.driving_video, row.row.parameters
    row.add(
        "pose_image",
        ImagePoseParams.of(parameters, kind="image", reference_frame=row.row.reference_frame),
        label=f"{row.row.image_name} @{parameters.resolution}",
        near=image,
        sources={"image": image},
        reads={"media": "ingest_image"},
    )
    row.add(
        "pose_video",
        VideoPoseParams.of(parameters, kind="video"),
        label=row.row.video_name,
        near=video,
        sources={"video": video},
        reads={"media": "ingest_video"},
    )
