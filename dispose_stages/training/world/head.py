"""Head, face and hair, painted from the projected face keypoints."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world.appearance import Appearance, shade
from dispose_stages.training.world.body import BodyShape
from dispose_stages.training.world.layer import Layer, axis_frame, capsule
from dispose_stages.training.world.projection import ProjectedJoints

_RING = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_FACE_ANGLE = np.radians(64)
_LEFT_EYE, _RIGHT_EYE = slice(42, 48), slice(36, 42)


def _center(joints: ProjectedJoints, frame: int) -> np.ndarray:
    return np.asarray(0.5 * (joints.chin[frame] + joints.crown[frame]))


def _skull(joints: ProjectedJoints, frame: int, half: tuple[float, float]) -> np.ndarray:
    """Outline of the head: an ellipse along its axis, narrower at the jaw."""
    along, normal, _ = axis_frame(joints.chin[frame], joints.crown[frame])
    oval = _oval(np.cos(_RING), np.sin(_RING), half, along, normal)
    return np.asarray(_center(joints, frame) + oval)


def _oval(
    u: np.ndarray, v: np.ndarray, half: tuple[float, float], along: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    narrow = half[0] * (1 - 0.2 * np.clip(-v, 0, 1) ** 2)
    # `normal` points to the image's left for an axis that points up.
    return np.outer(half[1] * v, along) - np.outer(narrow * u, normal)


def _half_size(shape: BodyShape, joints: ProjectedJoints, frame: int) -> tuple[float, float]:
    tall = 0.5 * float(np.hypot(*(joints.crown[frame] - joints.chin[frame])))
    side_view = abs(float(joints.facing[frame][0]))
    wide = shape.head_width * joints.scale * (1 + 0.15 * side_view)
    return wide, max(tall, wide)


def draw_hair_behind(
    shape: BodyShape, look: Appearance, joints: ProjectedJoints, frame: int
) -> Layer:
    """Hair that hangs down the neck, or a bun; behind the head for who faces the camera."""
    wide, tall = _half_size(shape, joints, frame)
    facing = joints.facing[frame]
    back = _center(joints, frame) + np.array([-facing[0], facing[1]]) * 0.35 * wide
    depth = float(joints.head_depth[frame] - 0.09 * facing[2] - 0.01)
    color = shade(look.hair_color, 0.8)
    length = {"bald": 0.0, "short": 0.0, "bob": 1.0, "long": 2.1, "bun": 0.0}[look.hair]
    end = back + np.array([0.0, length * tall])
    layer = Layer("hair", back, end, (wide, 0.8 * wide), depth)
    if length:
        layer.fill(capsule(back, end, (1.02 * wide, (1.02 if length < 1.5 else 0.7) * wide)), color)
    elif look.hair == "bun":
        top = joints.crown[frame] + np.array([-facing[0] * 0.6 * wide, 0.0])
        layer.fill(capsule(top, top, (0.42 * wide, 0.42 * wide)), color)
    return layer


def draw_head(shape: BodyShape, look: Appearance, joints: ProjectedJoints, frame: int) -> Layer:
    """Skull, hair, face and ears, as far as they look at the camera."""
    half = _half_size(shape, joints, frame)
    depth = float(joints.head_depth[frame]) + 0.045
    layer = Layer("head", joints.chin[frame], joints.crown[frame], (half[0], half[0]), depth)
    bald = look.hair == "bald"
    larger = (half[0], half[1]) if bald else (1.07 * half[0], 1.06 * half[1])
    layer.fill(_skull(joints, frame, larger), look.skin if bald else look.hair_color)
    patch = _face_patch(joints, frame, half)
    if len(patch):
        layer.hull(patch, look.skin)
    face = joints.keypoints[frame, 23:91]
    toward = _toward_camera(joints, frame, half)
    _draw_ears(layer, shape, look, joints, frame)
    for eye in (_LEFT_EYE, _RIGHT_EYE):
        if toward[eye].mean() > 0.25:
            _draw_eye(layer, look, face[eye], half[0])
    for brow in (slice(17, 22), slice(22, 27)):
        if toward[brow].mean() > 0.2:
            layer.line(face[brow], shade(look.hair_color, 0.6), max(1, round(0.11 * half[0])))
    if joints.facing[frame][2] > 0.05:
        dark = shade(look.skin, 0.72)
        layer.line(face[[28, 30, 33]], dark, max(1, round(0.09 * half[0])))
    if toward[48:60].mean() > 0.3:
        layer.hull(face[48:60], look.lips)
        layer.hull(face[60:68], shade(look.lips, 0.45))
    return layer


def _draw_eye(layer: Layer, look: Appearance, lids: Float[np.ndarray, "6 2"], wide: float) -> None:
    center = lids.mean(axis=0)
    layer.hull(lids, (250, 250, 250))
    radius = 0.09 * wide
    layer.fill(capsule(center, center, (radius, radius)), look.eyes)


def _draw_ears(
    layer: Layer, shape: BodyShape, look: Appearance, joints: ProjectedJoints, frame: int
) -> None:
    if look.hair in {"bob", "long"}:
        return
    radius = 0.2 * shape.head_width * joints.scale
    for ear in (3, 4):
        if joints.depths[frame, ear] > joints.head_depth[frame] - 0.35 * shape.head_width:
            point = joints.keypoints[frame, ear]
            layer.fill(capsule(point, point, (radius, radius)), shade(look.skin, 0.88))


def _toward_camera(
    joints: ProjectedJoints, frame: int, half: tuple[float, float]
) -> Float[np.ndarray, "68"]:
    """Depth of every face point before the head's centre, in half widths."""
    depths = joints.depths[frame, 23:91] - joints.head_depth[frame]
    return np.asarray(depths * joints.scale / half[0])


def _face_patch(joints: ProjectedJoints, frame: int, half: tuple[float, float]) -> np.ndarray:
    """Outline of the bare face: a circle on the skull around where the head looks."""
    facing, upward = joints.facing[frame], joints.upward[frame]
    sideways = np.cross(upward, facing)
    middle = facing - 0.34 * upward
    middle /= np.linalg.norm(middle)
    second = np.cross(middle, sideways)
    circle = np.outer(np.cos(_RING), sideways) + np.outer(np.sin(_RING), second)
    points = np.cos(_FACE_ANGLE) * middle + np.sin(_FACE_ANGLE) * circle
    if points[:, 2].max() < 0.12:
        return np.zeros((0, 2))
    along, normal, _ = axis_frame(joints.chin[frame], joints.crown[frame])
    flat = points[:, :2] * [1.0, -1.0]
    u, v = -flat @ normal, flat @ along
    # What lies beyond the silhouette is pulled onto it.
    beyond = points[:, 2] < 0
    reach = np.where(beyond, np.maximum(np.hypot(u, v), 1e-6), 1.0)
    outline: np.ndarray = _center(joints, frame) + _oval(u / reach, v / reach, half, along, normal)
    return outline
