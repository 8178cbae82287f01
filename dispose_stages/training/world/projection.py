"""The camera: parallel projection, looking down a little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world.body import Joints


@dataclass(frozen=True, slots=True)
class ProjectedJoints:
    """`Joints` in pixels; depths and facing vectors in body heights, z towards the camera."""

    keypoints: Float[np.ndarray, "t 133 2"]
    depths: Float[np.ndarray, "t 133"]
    pelvis: Float[np.ndarray, "t 2"]
    neck: Float[np.ndarray, "t 2"]
    chin: Float[np.ndarray, "t 2"]
    crown: Float[np.ndarray, "t 2"]
    facing: Float[np.ndarray, "t 3"]
    upward: Float[np.ndarray, "t 3"]
    chest_facing: Float[np.ndarray, "t 3"]
    trunk_depth: Float[np.ndarray, "t"]
    head_depth: Float[np.ndarray, "t"]
    scale: float


def project(
    joints: Joints, *, x: float, ground: float, scale: float, tilt: float
) -> ProjectedJoints:
    """See the joints through a camera.

    Args:
        joints: In body heights.
        x: Column of the figure's origin, pixels.
        ground: Row of the floor below it, pixels.
        scale: Pixels per body height.
        tilt: Angle by which the camera looks down, radians.
    """
    cosine, sine = np.cos(tilt), np.sin(tilt)

    def pixels(points: np.ndarray) -> np.ndarray:
        height = points[..., 1] * cosine - points[..., 2] * sine
        column = x + scale * points[..., 0]
        return np.stack([column, ground - scale * height], axis=-1)

    def tilted(vector: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(vector, -1, 0)
        return np.stack([x, y * cosine - z * sine, y * sine + z * cosine], axis=-1)

    axis = joints.crown - joints.chin
    return ProjectedJoints(
        keypoints=pixels(joints.keypoints),
        # Depth without the tilt: whether an arm is before the chest does not hang on its height.
        depths=joints.keypoints[..., 2],
        pelvis=pixels(joints.pelvis),
        neck=pixels(joints.neck),
        chin=pixels(joints.chin),
        crown=pixels(joints.crown),
        facing=tilted(joints.facing),
        upward=tilted(axis / np.linalg.norm(axis, axis=-1, keepdims=True)),
        chest_facing=tilted(joints.chest_facing),
        trunk_depth=0.5 * (joints.pelvis[:, 2] + joints.neck[:, 2]),
        head_depth=0.5 * (joints.chin[:, 2] + joints.crown[:, 2]),
        scale=scale,
    )
