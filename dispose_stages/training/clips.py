"""Clips of the procedural world as training examples: a reference and frames that it shall become.

The reference and the driving frames show one figure before one background, as for a video that is
driven by another person: half of the clips go on from the reference's own motion, half jump to
another one, so that the network has to carry the figure over and cannot merely drift from it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, UInt8

from dispose_stages.training.world.appearance import random_background
from dispose_stages.training.world.body import BodyPose, pose_joints
from dispose_stages.training.world.figure import Figure
from dispose_stages.training.world.motion import MOTIONS, random_motion
from dispose_stages.training.world.projection import Camera, project
from dispose_stages.training.world.scene import Actor, Scene

_JUMP = 0.6
"""Share of the clips whose reference stems from another motion than the driving frames."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Rendered frames, the reference first.

    Attributes:
        images: RGB.
        keypoints: ``x, y, flag`` in pixels, COCO-WholeBody order; flag as in COCO.
        boxes: ``x1, y1, x2, y2`` of the figure.
    """

    images: UInt8[np.ndarray, "f h w 3"]
    keypoints: Float[np.ndarray, "f 133 3"]
    boxes: Float[np.ndarray, "f 4"]


def clip_scene(seed: int, *, frames: int, height: int, width: int) -> Scene:
    """A scene whose frame 0 is the reference; depends on the arguments only.

    Args:
        seed: Decides figure, background, camera, motions and the time between frames.
        frames: Of the clip, the reference included.
        height: Of the images, pixels.
        width: Likewise.
    """
    rng = np.random.default_rng((seed, 29))
    figure = Figure.random(rng)
    spacing = rng.uniform(1 / 14, 1 / 7)
    times = np.concatenate([[-rng.uniform(0.1, 2.0)], spacing * np.arange(frames - 1)])
    driving = random_motion(_motion_name(rng), times + 4.0, rng)
    if rng.uniform() < _JUMP:
        still = random_motion(_motion_name(rng), times + 4.0, rng)
        driving = _joined(still, driving)
    return _staged(figure, driving, rng, height, width)


def motion_scene(
    seed: int, motion: str, *, frames: int, height: int, width: int, fps: float = 12.0
) -> Scene:
    """One uninterrupted movement, as a driving video shows it; depends on the arguments only.

    Args:
        seed: Decides figure, background, camera and how it moves.
        motion: One of `dispose_stages.training.world.motion.MOTIONS`.
        frames: Number of frames.
        height: Of the images, pixels.
        width: Likewise.
        fps: Frames per second.
    """
    rng = np.random.default_rng((seed, 43))
    figure = Figure.random(rng)
    return _staged(figure, random_motion(motion, np.arange(frames) / fps, rng), rng, height, width)


def _staged(
    figure: Figure, driving: BodyPose, rng: np.random.Generator, height: int, width: int
) -> Scene:
    """The figure, wholly inside the image in every frame, before some background."""
    joints = pose_joints(figure.shape, driving)
    spread = float(np.abs(joints.keypoints[:, :, 0]).max()) + 0.04
    top = float(joints.keypoints[:, :, 1].max()) + 0.06
    camera = _camera(rng, height, width, spread, top)
    background = random_background(height, width, rng)
    return Scene((Actor(figure, project(joints, camera)),), background)


def render_clip(scene: Scene) -> Clip:
    """All frames of a scene of one figure."""
    frames = [scene.render(frame) for frame in range(len(scene))]
    return Clip(
        images=np.stack([frame.image for frame in frames]),
        keypoints=np.stack([frame.keypoints[0] for frame in frames]),
        boxes=np.stack([frame.boxes[0] for frame in frames]),
    )


def _motion_name(rng: np.random.Generator) -> str:
    return str(rng.choice(sorted(MOTIONS)))


def _joined(first: BodyPose, rest: BodyPose) -> BodyPose:
    """Frame 0 of one motion, then the other frames of another."""
    parts = {
        field.name: np.concatenate([getattr(first, field.name)[:1], getattr(rest, field.name)[1:]])
        for field in fields(BodyPose)
    }
    return BodyPose(**parts)


def _camera(rng: np.random.Generator, height: int, width: int, spread: float, top: float) -> Camera:
    """Put a figure that reaches `spread` sideways and `top` up, in body heights, into the image."""
    fit = min(0.95 * height / (top + 0.05), 0.485 * width / spread)
    scale = fit * rng.uniform(0.8, 1.0)
    slack_x = max(0.0, 0.5 * width - spread * scale)
    floor = 0.985 * height - 0.05 * scale
    slack_y = max(0.0, floor - (top + 0.02) * scale)
    return Camera(
        x=float(0.5 * width + rng.uniform(-1, 1) * slack_x),
        ground=float(floor - rng.uniform() * slack_y),
        scale=float(scale),
        tilt=float(rng.uniform(0.08, 0.25)),
    )
