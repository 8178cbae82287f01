"""Both motion fields of a pair as pictures, with the keypoints' own displacements as arrows."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8

from dispose_stages.artifacts import MotionField
from dispose_stages.config import Compat
from dispose_stages.geometry.colour_wheel import add_legend, flow_colours, flow_limit
from dispose_stages.geometry.dense_field import dense_field
from dispose_stages.geometry.tracks import (
    Impulses,
    frame_to_frame,
    pixel_track,
    reference_to_frame,
)
from dispose_stages.geometry.trajectory import spread

Image = UInt8[np.ndarray, "height width 3"]
ARROW_COLOUR = (0, 0, 0)
GAP = 4


def draw_quiver(image: Image, impulses: Impulses, frame: int) -> Image:
    """A copy with an arrow per keypoint, from where it is by its displacement.

    Args:
        image: RGB, of the size the impulses are in.
        impulses: From `geometry.tracks`.
        frame: Which of their frames.
    """
    out = np.ascontiguousarray(image).copy()
    thickness = max(1, min(out.shape[:2]) // 300)
    for keypoint in np.flatnonzero(impulses.written[frame]):
        start = np.array([impulses.columns[frame, keypoint], impulses.rows[frame, keypoint]])
        end = np.rint(start + impulses.displacement[frame, keypoint]).astype(int)
        ends = tuple(int(v) for v in start), tuple(int(v) for v in end)
        cv2.arrowedLine(out, *ends, ARROW_COLOUR, thickness, cv2.LINE_AA, tipLength=0.25)
    return out


def preview_motion(motion: MotionField, frames: Sequence[int], *, compat: Compat) -> Image:
    """A row per frame: trajectory field on the left, dense field on the right.

    Colours of each column share one scale, which its legend states.

    Args:
        motion: Artifact of the stage.
        frames: Driving frames to show, from 0; at least one.
        compat: As the fields are used.

    Raises:
        ValueError: A frame is not there.
    """
    count = len(motion.cmp_flow)
    if not frames or not all(0 <= frame < count for frame in frames):
        msg = f"frames must be some of 0 to {count - 1}, not {list(frames)}"
        raise ValueError(msg)
    points, visible = motion.body_track()
    columns = [
        _sparse_column(motion, points, visible, frames, compat),
        _dense_column(motion, points, visible, frames, compat),
    ]
    gap = np.full((columns[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([columns[0], gap, columns[1]], axis=1)


def _sparse_column(
    motion: MotionField,
    points: Float64[np.ndarray, "f 18 2"],
    visible: Bool[np.ndarray, "f 18"],
    frames: Sequence[int],
    compat: Compat,
) -> Image:
    track = pixel_track(points, visible, motion.height, motion.width)
    impulses = frame_to_frame(track, visible, compat=compat)
    fields = [
        spread(
            impulses[frame : frame + 1],
            motion.height,
            motion.width,
            device="cpu",
            dtype=torch.float32,
        )[0].numpy()
        for frame in frames
    ]
    return _column(fields, impulses, frames)


def _dense_column(
    motion: MotionField,
    points: Float64[np.ndarray, "f 18 2"],
    visible: Bool[np.ndarray, "f 18"],
    frames: Sequence[int],
    compat: Compat,
) -> Image:
    chosen = motion.cmp_flow[list(frames)]
    fields = dense_field(chosen, motion.height, motion.width, device="cpu", dtype=torch.float32)
    track = pixel_track(points, visible, motion.height, motion.width)
    impulses = reference_to_frame(track, visible, compat=compat)
    return _column(list(fields.numpy()), impulses, frames)


def _column(fields: Sequence[np.ndarray], impulses: Impulses, frames: Sequence[int]) -> Image:
    limit = max(flow_limit(field) for field in fields)
    rows: list[Image] = []
    for field, frame in zip(fields, frames, strict=True):
        picture = add_legend(draw_quiver(flow_colours(field, limit), impulses, frame), limit)
        if rows:
            rows.append(np.full((GAP, picture.shape[1], 3), 255, dtype=np.uint8))
        rows.append(picture)
    return np.concatenate(rows, axis=0)
