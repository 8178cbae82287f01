"""Clips of the procedural world as training examples: a reference and frames that it shall become.

The reference and the driving frames show one figure before one background, as for a video that is
driven by another person: half of the clips go on from the reference's own motion, half jump to
another one, so that the network has to carry the figure over and cannot merely drift from it.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from jaxtyping import Float, UInt8

from dispose_stages.training.world.appearance import random_background
from dispose_stages.training.world.body import BodyPose
from dispose_stages.training.world.figure import Figure
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.scene import Scene, place_actor

_JUMP = 0.6
"""Share of the clips whose reference stems from another motion than the driving frames; of motley
figures all do."""


def clip_scene(seed: int, *, frames: int, height: int, width: int, motley: float = 0.0) -> Scene:
    """A scene whose frame 0 is the reference; depends on the arguments only.

    Args:
        seed: Decides figure, background, camera, motions and the time between frames.
        frames: Of the clip, the reference included.
        motley: Share of the figures with a colour for every limb.
    """
    rng, of_limbs = (np.random.default_rng((seed, stream)) for stream in (29, 61))
    figure, jump = Figure.random(rng), _JUMP
    if of_limbs.uniform() < motley:
        figure, jump = figure.motley(of_limbs), 1.0
    spacing = rng.uniform(1 / 14, 1 / 7)
    times = np.concatenate([[-rng.uniform(0.1, 2.0)], spacing * np.arange(frames - 1)])
    driving = MOTIONS[_motion_name(rng)](times + 4.0, rng)
    if rng.uniform() < jump:
        still = MOTIONS[_motion_name(rng)](times + 4.0, rng)
        driving = _joined(still, driving)
    return _staged(figure, driving, rng, height, width)


def motion_scene(
    seed: int,
    motion: str,
    *,
    frames: int,
    height: int,
    width: int,
    fps: float = 12.0,
) -> Scene:
    """One uninterrupted movement, as a driving video shows it; depends on the arguments only.

    Args:
        seed: Decides figure, background, camera and how it moves.
        motion: One of `dispose_stages.training.world.motion.MOTIONS`.
    """
    rng = np.random.default_rng((seed, 43))
    figure = Figure.random(rng)
    return _staged(figure, MOTIONS[motion](np.arange(frames) / fps, rng), rng, height, width)


def _staged(
    figure: Figure, driving: BodyPose, rng: np.random.Generator, height: int, width: int
) -> Scene:
    """The figure, wholly inside the image in every frame, before some background."""
    actor = place_actor(figure, driving, rng, height, width, smallest=0.8)
    return Scene((actor,), random_background(height, width, rng))


def render_clip(
    scene: Scene,
) -> tuple[UInt8[np.ndarray, "f h w 3"], Float[np.ndarray, "f 133 3"], Float[np.ndarray, "f 4"]]:
    """All frames of a scene of one figure: images, keypoints and boxes as in `RenderedFrame`."""
    frames = [scene.render(frame) for frame in range(len(scene))]
    return (
        np.stack([frame.image for frame in frames]),
        np.stack([frame.keypoints[0] for frame in frames]),
        np.stack([frame.boxes[0] for frame in frames]),
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
