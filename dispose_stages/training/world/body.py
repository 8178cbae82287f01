"""A body: its proportions, its pose over time, and where that puts every keypoint.

Space: x to the right of the image, y up, z towards the camera; lengths in body heights. A figure
with ``yaw`` 0 looks at the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from dispose_stages.training.world import keypoints

Vector = Float[np.ndarray, "t 3"]
Rotation = Float[np.ndarray, "t 3 3"]

DOWN = np.array([0.0, -1.0, 0.0])
UP = -DOWN
FORWARD = np.array([0.0, 0.0, 1.0])
SIDEWAYS = np.array([1.0, 0.0, 0.0])
UNLIKE = (0.6, 1.6)
"""Shortest and longest length of an unlike body, as a share of the standard's."""


@dataclass(frozen=True, slots=True)
class BodyShape:
    """Proportions of a figure, lengths as fractions of a standard body height."""

    head: float = 0.15
    head_width: float = 0.058
    neck: float = 0.045
    torso: float = 0.29
    shoulders: float = 0.115
    hips: float = 0.07
    upper_arm: float = 0.165
    forearm: float = 0.145
    hand: float = 0.085
    thigh: float = 0.24
    shin: float = 0.225
    foot: float = 0.12
    girth: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> BodyShape:
        """Proportions of some person between child and tall adult."""
        child = rng.uniform(0, 1) ** 2

        def vary(value: float, spread: float = 0.1) -> float:
            return float(value * rng.uniform(1 - spread, 1 + spread))

        return cls(
            head=vary(0.145 + 0.04 * child),
            head_width=vary(0.055 + 0.016 * child),
            neck=vary(0.045, 0.2),
            torso=vary(0.29),
            shoulders=vary(0.115, 0.16),
            hips=vary(0.068, 0.16),
            upper_arm=vary(0.165),
            forearm=vary(0.145),
            hand=vary(0.085, 0.12),
            thigh=vary(0.24 - 0.03 * child, 0.08),
            shin=vary(0.225 - 0.03 * child, 0.08),
            foot=vary(0.12, 0.12),
            girth=float(rng.uniform(0.8, 1.3)),
        )

    @classmethod
    def unlike(cls, rng: np.random.Generator) -> BodyShape:
        """Proportions nobody has: every length 0.6 to 1.6 of the standard, for its own."""
        shortest, longest = np.log(UNLIKE)
        lengths = [field.name for field in fields(cls) if field.name != "girth"]
        scales = np.exp(rng.uniform(shortest, longest, len(lengths)))
        varied = {
            name: float(scale * getattr(cls(), name))
            for name, scale in zip(lengths, scales, strict=True)
        }
        return cls(**varied, girth=float(rng.uniform(0.8, 1.3)))


@dataclass(frozen=True, slots=True)
class BodyPose:
    """Joint angles over time, radians; pairs are (left, right).

    ``shift`` (body heights) moves along x, ``lift`` off the ground. All arrays begin with time.
    """

    yaw: Float[np.ndarray, "t"]
    pitch: Float[np.ndarray, "t"]
    roll: Float[np.ndarray, "t"]
    shift: Float[np.ndarray, "t"]
    lift: Float[np.ndarray, "t"]
    head_yaw: Float[np.ndarray, "t"]
    head_pitch: Float[np.ndarray, "t"]
    head_roll: Float[np.ndarray, "t"]
    mouth_open: Float[np.ndarray, "t"]
    arm_abduction: Float[np.ndarray, "t 2"]
    arm_flexion: Float[np.ndarray, "t 2"]
    arm_twist: Float[np.ndarray, "t 2"]
    elbow: Float[np.ndarray, "t 2"]
    finger_curl: Float[np.ndarray, "t 2"]
    finger_spread: Float[np.ndarray, "t 2"]
    leg_abduction: Float[np.ndarray, "t 2"]
    leg_flexion: Float[np.ndarray, "t 2"]
    knee: Float[np.ndarray, "t 2"]
    foot_pitch: Float[np.ndarray, "t 2"]

    @classmethod
    def standing(cls, frames: int) -> BodyPose:
        """Upright, arms a little away from the body."""
        pairs = set(cls.paired())
        pose = {
            field.name: np.zeros((frames, 2) if field.name in pairs else frames)
            for field in fields(cls)
        }
        pose["arm_abduction"] += 0.22
        pose["elbow"] += 0.2
        pose["leg_abduction"] += 0.07
        pose["finger_curl"] += 0.25
        return cls(**pose)

    @staticmethod
    def paired() -> tuple[str, ...]:
        """Names of the fields with a left and a right value."""
        arms = ("arm_abduction", "arm_flexion", "arm_twist", "elbow")
        hands = ("finger_curl", "finger_spread")
        return (*arms, *hands, "leg_abduction", "leg_flexion", "knee", "foot_pitch")

    def __len__(self) -> int:
        return len(self.yaw)


def turn_about(axis: int, angle: Float[np.ndarray, "t"]) -> Rotation:
    """Rotation matrices about one axis (0 x, 1 y, 2 z), right-handed."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.zeros((len(angle), 3, 3))
    after, last = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, after, after] = matrix[:, last, last] = cosine
    matrix[:, last, after], matrix[:, after, last] = sine, -sine
    return matrix


@dataclass(frozen=True, slots=True)
class Joints:
    """Positions over time, before projection.

    Attributes:
        keypoints: COCO-WholeBody order.
        pelvis: Centre between the hips.
        neck: Base of the neck.
        chin: Lower end of the head's axis.
        crown: Upper end of the head's axis.
        facing: Unit vector along which the head looks.
        chest_facing: Unit vector along which the trunk looks.
    """

    keypoints: Float[np.ndarray, "t 133 3"]
    pelvis: Vector
    neck: Vector
    chin: Vector
    crown: Vector
    facing: Vector
    chest_facing: Vector


def pose_joints(shape: BodyShape, pose: BodyPose) -> Joints:
    """Forward kinematics; the lower foot stands on y = 0, plus ``lift``."""
    frames = len(pose)
    points = np.zeros((frames, keypoints.COUNT, 3))
    hips_turn = turn_about(1, pose.yaw)
    trunk = hips_turn @ turn_about(2, -pose.roll) @ turn_about(0, pose.pitch)
    pelvis = np.zeros((frames, 3))
    neck = pelvis + trunk @ (shape.torso * UP)
    turned = trunk @ turn_about(1, pose.head_yaw) @ turn_about(0, pose.head_pitch)
    head = turned @ turn_about(2, pose.head_roll)
    chin = neck + trunk @ (shape.neck * 0.6 * UP) + head @ (shape.neck * 0.4 * UP)
    crown = chin + head @ (shape.head * UP)
    _place_head(points, shape, pose, head, 0.5 * (chin + crown))
    for side in (0, 1):
        _place_arm(points, shape, pose, trunk, neck, side)
        _place_leg(points, shape, pose, hips_turn, pelvis, side)
    sole = points[:, keypoints.FEET, 1].min(axis=1)
    move = np.stack([pose.shift, pose.lift - sole, np.zeros(frames)], axis=1)
    return Joints(
        keypoints=points + move[:, None],
        pelvis=pelvis + move,
        neck=neck + move,
        chin=chin + move,
        crown=crown + move,
        facing=head @ FORWARD,
        chest_facing=trunk @ FORWARD,
    )


def _place_head(
    points: np.ndarray, shape: BodyShape, pose: BodyPose, head: Rotation, center: Vector
) -> None:
    size = np.array([shape.head_width, 0.5 * shape.head, shape.head_width])
    face = np.stack([keypoints.face_shape(mouth_open=m) for m in pose.mouth_open]) * size
    ears = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]) * size * [1, 1, 0]
    # Nose tip, then the eyes as centres of the lids (figure's left eye is 42-47).
    eyes = [face[:, 42:48].mean(axis=1), face[:, 36:42].mean(axis=1)]
    local = np.concatenate(
        [face[:, 30:31], np.stack(eyes, 1), np.repeat(ears[None], len(face), axis=0)], axis=1
    )
    points[:, 0:5] = np.einsum("tij,tkj->tki", head, local) + center[:, None]
    points[:, keypoints.FACE] = np.einsum("tij,tkj->tki", head, face) + center[:, None]


def _place_arm(
    points: np.ndarray, shape: BodyShape, pose: BodyPose, trunk: Rotation, neck: Vector, side: int
) -> None:
    sign = 1.0 - 2.0 * side
    shoulder = neck + trunk @ (sign * shape.shoulders * SIDEWAYS + 0.02 * DOWN)
    raised = trunk @ turn_about(2, sign * pose.arm_abduction[:, side])
    upper = raised @ turn_about(0, -pose.arm_flexion[:, side])
    upper = upper @ turn_about(1, sign * pose.arm_twist[:, side])
    lower = upper @ turn_about(0, -pose.elbow[:, side])
    elbow = shoulder + upper @ (shape.upper_arm * DOWN)
    wrist = elbow + lower @ (shape.forearm * DOWN)
    points[:, 5 + side], points[:, 7 + side], points[:, 9 + side] = shoulder, elbow, wrist
    shapes = [
        keypoints.hand_shape(float(curl), float(spread))
        for curl, spread in zip(pose.finger_curl[:, side], pose.finger_spread[:, side], strict=True)
    ]
    hand = np.stack(shapes) * shape.hand * [sign, 1, 1]
    placed = np.einsum("tij,tkj->tki", lower, hand) + wrist[:, None]
    points[:, keypoints.RIGHT_HAND if side else keypoints.LEFT_HAND] = placed


def _place_leg(
    points: np.ndarray, shape: BodyShape, pose: BodyPose, hips: Rotation, pelvis: Vector, side: int
) -> None:
    sign = 1.0 - 2.0 * side
    hip = pelvis + hips @ (sign * shape.hips * SIDEWAYS)
    upper = hips @ turn_about(2, sign * pose.leg_abduction[:, side])
    upper = upper @ turn_about(0, -pose.leg_flexion[:, side])
    lower = upper @ turn_about(0, pose.knee[:, side])
    knee = hip + upper @ (shape.thigh * DOWN)
    ankle = knee + lower @ (shape.shin * DOWN)
    points[:, 11 + side], points[:, 13 + side], points[:, 15 + side] = hip, knee, ankle
    splay = turn_about(1, np.full(len(pose), sign * 0.35))
    foot = hips @ splay @ turn_about(0, pose.foot_pitch[:, side])
    offsets = np.array([[0.0, -0.25, 0.72], [sign * 0.22, -0.25, 0.6], [0.0, -0.25, -0.22]])
    first = 17 + 3 * side
    sole = np.einsum("tij,kj->tki", foot, offsets * shape.foot) + ankle[:, None]
    points[:, first : first + 3] = sole
