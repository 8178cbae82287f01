"""Pairs of figures whose retargeted driver is known: A posed with B's angles.

The truth has the driver's angles and timing, the reference's lengths, the root's path in the
reference's leg lengths, and the driver's camera tilt, which no retargeting can know better.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world.appearance import Appearance, random_background
from dispose_stages.training.world.body import BodyPose, BodyShape, pose_joints
from dispose_stages.training.world.figure import Figure
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.projection import project
from dispose_stages.training.world.scene import Scene

HEIGHT, WIDTH = 512, 384
FRAMES, FPS = 24, 12.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A kind of pair.

    Attributes:
        bodies: ``same``, ``like`` (the world's usual variety) or ``unlike`` (0.6 to 1.6 per limb).
        posed: The reference is caught in some movement; else it stands.
        half: Both pictures end between waist and knees.
    """

    bodies: str
    posed: bool = False
    half: bool = False


CELLS = {
    "same": Cell("same"),
    "like": Cell("like"),
    "unlike, standing": Cell("unlike"),
    "unlike, any pose": Cell("unlike", posed=True),
    "unlike, half figures": Cell("unlike", half=True),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is known of a pair; points in pixels, flags as in `world.scene`.

    Attributes:
        reference: ``x, y, flag`` of its picture.
        driving: ``x, y, flag`` of the driver's frames.
        truth: The reference in the driver's poses.
        head: Height of the reference's head, pixels.
        tall: Heights of reference and driver, pixels.
        scenes: Both, to be painted.
        painted: The truth, to be painted, before the reference's background.
    """

    reference: Float[np.ndarray, "133 3"]
    driving: Float[np.ndarray, "f 133 3"]
    truth: Float[np.ndarray, "f 133 2"]
    head: float
    tall: tuple[float, float]
    scenes: tuple[Scene, Scene]
    painted: Scene


def make_pair(seed: int, cell: Cell) -> Pair:
    """A pair that depends on the arguments only; the movements take turns."""
    rng = np.random.default_rng((seed, 61))
    shape_b = BodyShape.unlike(rng) if cell.bodies == "unlike" else BodyShape.random(rng)
    drawn = {"same": lambda: shape_b, "like": lambda: BodyShape.random(rng)}
    shape_a = drawn.get(cell.bodies, lambda: BodyShape.unlike(rng))()
    motion = sorted(MOTIONS)[seed % len(MOTIONS)]
    pose_b = MOTIONS[motion](np.arange(FRAMES) / FPS + 4.0, rng)
    pose_a = _posed(rng) if cell.posed else _standing(rng)
    scene_a, _, ground = _scene(shape_a, pose_a, rng, half=cell.half)
    scene_b, tilt, _ = _scene(shape_b, pose_b, rng, half=cell.half)
    scale = scene_a.actors[0][1].scale
    leg = (shape_a.thigh + shape_a.shin) / (shape_b.thigh + shape_b.shin)
    retargeted = replace(pose_b, shift=pose_b.shift * leg, lift=pose_b.lift * leg)
    joints = pose_joints(shape_a, retargeted)
    truth = project(joints, x=0.5 * WIDTH, ground=ground, scale=scale, tilt=tilt)
    tall = (_tall(shape_a) * scale, _tall(shape_b) * scene_b.actors[0][1].scale)
    driving = np.stack([scene_b.keypoints(frame)[0] for frame in range(FRAMES)])
    still = scene_a.keypoints(0)[0]
    head = shape_a.head * scale
    painted = Scene(((scene_a.actors[0][0], truth),), scene_a.background)
    return Pair(still, driving, truth.keypoints, head, tall, (scene_a, scene_b), painted)


def _tall(shape: BodyShape) -> float:
    return shape.head + shape.neck + shape.torso + shape.thigh + shape.shin


def _standing(rng: np.random.Generator) -> BodyPose:
    """Upright, looking more or less at the camera, as somebody who is photographed."""
    pose = BodyPose.standing(1)
    return replace(
        pose,
        yaw=rng.uniform(-0.35, 0.35, 1),
        head_yaw=rng.uniform(-0.25, 0.25, 1),
        head_pitch=rng.uniform(-0.1, 0.1, 1),
        arm_abduction=pose.arm_abduction + rng.uniform(0, 0.5, (1, 2)),
        elbow=pose.elbow + rng.uniform(0, 0.3, (1, 2)),
    )


def _posed(rng: np.random.Generator) -> BodyPose:
    """Some moment of some movement."""
    moving = MOTIONS[str(rng.choice(sorted(MOTIONS)))](np.arange(FRAMES) / FPS + 4.0, rng)
    moment = int(rng.integers(FRAMES))
    return BodyPose(**{f.name: getattr(moving, f.name)[[moment]] for f in fields(moving)})


def _scene(
    shape: BodyShape, pose: BodyPose, rng: np.random.Generator, *, half: bool
) -> tuple[Scene, float, float]:
    """The figure alone, whole or from the head to below the waist; tilt, row of the floor."""
    joints = pose_joints(shape, pose)
    top = float(joints.keypoints[:, :, 1].max()) + 0.06
    spread = float(np.abs(joints.keypoints[:, :, 0]).max()) + 0.04
    cut = float(rng.uniform(0.15, 0.85)) * shape.thigh
    low = float(joints.keypoints[:, 11:13, 1].max()) - cut if half else -0.06
    fit = min(HEIGHT / (top - low), 0.5 * WIDTH / spread)
    scale = fit * float(rng.uniform(0.75, 1.0)) if not half else fit
    bottom = 1.0 if half else float(rng.uniform(0.97, 1.0))
    ground = bottom * HEIGHT + low * scale
    figure = Figure(shape, Appearance.random(rng))
    tilt = float(rng.uniform(0.08, 0.25))
    projected = project(joints, x=0.5 * WIDTH, ground=ground, scale=scale, tilt=tilt)
    return Scene(((figure, projected),), random_background(HEIGHT, WIDTH, rng)), tilt, ground
