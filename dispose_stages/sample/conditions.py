"""What the loop is conditioned on, computed once per clip (algorithm §12).

Neither the timestep nor the guidance half enters any of it, so one value per frame of the clip
serves all steps, tiles and halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from dispose_stages.models.control_net import ControlNet
from dispose_stages.sample.kept_frames import KeptFrames

Rasters = Callable[[slice], UInt8[Tensor, "n 3 H W"]]
"""Pose images of a slice of the frames, on the device."""
Fields = Callable[[slice], tuple[Float[Tensor, "n 2 H W"], Float[Tensor, "n 2 H W"]]]
"""Dense and trajectory field of a slice of the driving frames (entry ``i`` belongs to frame
``i + 1`` of the clip), at full resolution on the device."""


@dataclass(frozen=True, slots=True)
class ClipConditions:
    """Conditions of all frames of a clip.

    Ablations leave parts out (`None`):

    - motion guidance off: `motion` is None, nothing is added to the ControlNet's first features.
      That is less than the embedding of zero fields, which would tell the network that nothing
      moves.
    - correspondence guidance off: `points` is None, the ControlNet's hidden states stay as they
      are.
    - both off: the ControlNet is not run and the UNet gets no residuals: the plain base model
      driven by the pose images.

    Attributes:
        image: Latent of the reference, unscaled; zeros for the unconditional half.
        pose: PoseNet's features; the unconditional half gets zeros, not features of zeros.
        motion: Embedding of both motion fields.
        points: The point adapter's features, one tensor per level.
    """

    image: Float32[Tensor, "4 h w"]
    pose: KeptFrames
    motion: KeptFrames | None
    points: tuple[KeptFrames, ...] | None

    @property
    def controlled(self) -> bool:
        """Whether the ControlNet is run at all."""
        return self.motion is not None or self.points is not None


def _chunks(frames: int, size: int) -> Iterator[slice]:
    for first in range(0, frames, size):
        yield slice(first, min(first + size, frames))


def embed_poses(
    rasters: Rasters,
    pose_net: Callable[[Float[Tensor, "n 3 H W"]], Float[Tensor, "n c h w"]],
    frames: int,
    *,
    frame_chunk: int,
    dtype: torch.dtype,
    keep_on: torch.device,
) -> KeptFrames:
    """PoseNet's features of every frame, a chunk of full-resolution rasters at a time.

    Args:
        pose_net: Takes images in [-1, 1].
        frames: Length of the clip.
        frame_chunk: Frames held at full resolution at once.
        keep_on: Where the result is kept.
    """
    kept = KeptFrames(frames, keep_on)
    for chunk in _chunks(frames, frame_chunk):
        # In float32 first: float16 cannot tell all grey levels apart after the division.
        images = rasters(chunk).float() / 127.5 - 1
        kept.add(pose_net(images.to(dtype)))
    return kept


def embed_motion(
    fields: Fields,
    control_net: ControlNet,
    frames: int,
    *,
    height: int,
    width: int,
    frame_chunk: int,
    keep_on: torch.device,
) -> KeptFrames:
    """Embedding of the motion fields of every frame, a chunk at a time.

    Args:
        control_net: Embeds them.
        frames: Length of the clip, reference included.
        height: Of the target, pixels.
        width: Of the target, pixels.
        frame_chunk: Frames held at full resolution at once.
        keep_on: Where the result is kept.
    """
    kept = KeptFrames(frames, keep_on)
    kept.add(control_net.embed_stillness(height, width))
    for chunk in _chunks(frames - 1, frame_chunk):
        kept.add(control_net.embed_motion(*fields(chunk)))
    return kept


def embed_points(
    embedding: Float[Tensor, "18 c"],
    points: Float64[Tensor, "f 18 2"],
    visible: Bool[Tensor, "f 18"],
    control_net: ControlNet,
    *,
    height: int,
    width: int,
    frame_chunk: int,
    keep_on: torch.device,
) -> tuple[KeptFrames, ...]:
    """The point adapter's features of every frame per level, a chunk at a time.

    Args:
        embedding: Correspondence feature of each keypoint of the reference.
        points: Normalised keypoints per frame.
        visible: Whether each keypoint counts.
        control_net: Holds the point adapter.
        height: Of the target, pixels.
        width: Of the target, pixels.
        frame_chunk: Frames computed at once.
        keep_on: Where the result is kept.
    """
    kept: list[KeptFrames] = []
    for chunk in _chunks(len(points), frame_chunk):
        levels = control_net.embed_points(
            embedding, points[chunk], visible[chunk], height=height, width=width
        )
        kept = kept or [KeptFrames(len(points), keep_on) for _ in levels]
        for frames, level in zip(kept, levels, strict=True):
            frames.add(level)
    return tuple(kept)
