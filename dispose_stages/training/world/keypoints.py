"""The COCO-WholeBody layout of 133 keypoints, and the shapes of a face and a hand.

Order: 17 body, 6 feet, 68 face, 21 left hand, 21 right hand. "Left" is the figure's own left, which
a figure that faces the camera shows on the right of the image.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
COUNT = 133

BODY_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

_JAW, _BROWS = slice(0, 17), slice(17, 27)


def _ellipsoid(points: Float[np.ndarray, "n 2"], lift: float = 0.0) -> Float[np.ndarray, "n 3"]:
    """Put points of the face plane on the front of the head."""
    squared = 1 - (points[:, 0] / 1.06) ** 2 - (points[:, 1] / 1.3) ** 2
    return np.column_stack([points, np.sqrt(np.clip(squared, 0, None)) + lift])


def _ring(
    center: tuple[float, float], radii: tuple[float, float], degrees: list[float]
) -> np.ndarray:
    angle = np.radians(degrees)
    return np.column_stack(
        [center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)]
    )


def face_shape(*, mouth_open: float = 0.0) -> Float[np.ndarray, "68 3"]:
    """The 68 face points of an upright head that looks along +z.

    Args:
        mouth_open: 0 for closed lips, 1 for wide open.

    Returns:
        Points in units of the head's half width (x, z) and half height (y, upwards).
    """
    angle = np.radians(np.linspace(-90, 90, 17))
    jaw = np.column_stack(
        [0.92 * np.sin(angle), -0.97 * np.cos(angle) + 0.04, 0.05 + 0.55 * np.cos(angle)]
    )
    brow_x = np.linspace(0.2, 0.72, 5)
    brow_y = 0.34 + 0.07 * np.sin(np.linspace(0.25, 2.7, 5))
    right_brow = np.column_stack([-brow_x[::-1], brow_y[::-1]])
    left_brow = np.column_stack([brow_x, brow_y])
    bridge = np.column_stack([np.zeros(4), np.linspace(0.16, -0.16, 4)])
    nostrils = np.column_stack([np.linspace(-0.2, 0.2, 5), [-0.24, -0.27, -0.29, -0.27, -0.24]])
    lids = [180.0, 120.0, 60.0, 0.0, -60.0, -120.0]
    eyes = [_ring((side * 0.42, 0.15), (0.19, 0.1), lids) for side in (-1, 1)]
    outer_up, inner_up = 0.06, 0.02
    opening = 0.16 * mouth_open
    outer = _ring((0.0, -0.53), (0.34, outer_up + 0.04), [180 - 30.0 * i for i in range(12)])
    inner = _ring((0.0, -0.53), (0.26, inner_up), [180 - 45.0 * i for i in range(8)])
    for lips in (outer, inner):
        lips[:, 1] -= opening * (lips[:, 1] < -0.531)
    return np.concatenate(
        [
            jaw,
            _ellipsoid(np.concatenate([right_brow, left_brow])),
            _ellipsoid(bridge) + np.column_stack([np.zeros((4, 2)), [0.0, 0.08, 0.18, 0.28]]),
            _ellipsoid(nostrils, lift=0.1),
            _ellipsoid(np.concatenate(eyes), lift=-0.04),
            _ellipsoid(np.concatenate([outer, inner])),
        ]
    )


def hand_shape(curl: float, spread: float) -> Float[np.ndarray, "21 3"]:
    """The 21 points of a left hand that hangs down, palm to the body.

    Args:
        curl: 0 for straight fingers, 1 for a fist.
        spread: Angle between neighbouring fingers, radians.

    Returns:
        Points in hand lengths: wrist, then thumb to little finger, each from root to tip; -y is
        along the hand, +z towards the thumb, -x to the palm.
    """
    points = np.zeros((21, 3))
    for finger in range(5):
        thumb = finger == 0
        fan = (2.5 - finger) * (0.12 + spread) + (0.55 if thumb else 0.0)
        root = np.array(
            [0.0, -0.22 if thumb else -0.5, 0.17 if thumb else 0.2 - 0.1 * (finger - 1)]
        )
        length = (0.46, 0.44, 0.5, 0.46, 0.36)[finger] / 3
        points[1 + 4 * finger] = root
        for joint in range(3):
            bend = curl * (joint + 1) * (0.45 if thumb else 0.9)
            step = np.array(
                [-np.sin(bend), -np.cos(bend) * np.cos(fan), np.cos(bend) * np.sin(fan)]
            )
            points[2 + 4 * finger + joint] = points[1 + 4 * finger + joint] + length * step
    return points
