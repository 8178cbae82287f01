"""Artifacts as the tensors a clip is made from; full-resolution ones are rebuilt on demand."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

from dispose_stages.artifacts import MotionField
from dispose_stages.geometry.dense_field import dense_field
from dispose_stages.geometry.drawing import draw_pose
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.trajectory import trajectory_field
from dispose_stages.mapped import let_go
from dispose_stages.sample.clip import ClipInputs
from dispose_stages.sample.conditions import Fields, Rasters
from dispose_stages.sample.reference import as_seen_by_sampler


def clip_inputs(
    image: UInt8[np.ndarray, "h0 w0 3"],
    motion: MotionField,
    correspondence: Float32[np.ndarray, "18 c"] | None,
    *,
    motion_guidance: bool = True,
    compat: Literal["official", "corrected"],
    device: torch.device,
    dtype: torch.dtype,
    executor: Executor,
) -> ClipInputs:
    """Inputs of one clip.

    Args:
        image: Reference of any size.
        correspondence: Feature per keypoint; None where correspondence guidance is off.
        motion_guidance: Whether the motion fields are used; poses always are.
        compat: Decides the trajectory field (Q7) and the image's truncation (Q10).
        device: Where sampling runs.
        executor: Threads that draw pose images; OpenCV works outside the interpreter's lock.
    """
    points, visible = motion.body_track()
    target = torch.from_numpy(cover_resize(image, motion.height, motion.width)).permute(2, 0, 1)
    original_dtype = torch.float16 if dtype == torch.float16 else torch.float32
    fields = motion_fields(motion, (points, visible), compat=compat, device=device, dtype=dtype)
    return ClipInputs(
        image=as_seen_by_sampler(target, compat=compat, dtype=original_dtype).to(device),
        frames=len(motion.poses),
        rasters=pose_rasters(motion, device=device, executor=executor),
        fields=fields if motion_guidance else None,
        points=torch.from_numpy(points).to(device),
        visible=torch.from_numpy(visible).to(device),
        correspondence=None
        if correspondence is None
        else torch.from_numpy(correspondence).to(device),
    )


def pose_rasters(motion: MotionField, *, device: torch.device, executor: Executor) -> Rasters:
    """Draws the pose images of a slice of the frames."""

    def draw(frame: int) -> UInt8[np.ndarray, "3 H W"]:
        return draw_pose(motion.poses[frame], motion.height, motion.width)

    def rasters(chunk: slice) -> Tensor:
        images = list(executor.map(draw, range(chunk.start, chunk.stop)))
        return torch.from_numpy(np.stack(images)).to(device)

    return rasters


def motion_fields(
    motion: MotionField,
    track: tuple[Float64[np.ndarray, "f 18 2"], Bool[np.ndarray, "f 18"]],
    *,
    compat: Literal["official", "corrected"],
    device: torch.device,
    dtype: torch.dtype,
) -> Fields:
    """Rebuilds the dense and the trajectory field of a slice of the driving frames.

    Args:
        track: Its `MotionField.body_track`.
        compat: Decides the trajectory field (Q7).
        device: Where the fields are computed.
    """
    points, visible = track
    height, width = motion.height, motion.width

    def fields(chunk: slice) -> tuple[Tensor, Tensor]:
        dense = dense_field(motion.cmp_flow[chunk], height, width, device=device, dtype=dtype)
        let_go(motion.cmp_flow)
        # Entry i of the trajectory field is made from frames i and i + 1 of the clip.
        ends = slice(chunk.start, chunk.stop + 1)
        trajectory = trajectory_field(
            points[ends], visible[ends], height, width, compat=compat, device=device, dtype=dtype
        )
        return dense, trajectory

    return fields
