"""The procedural world: determinism and the truth it tells."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dispose_stages.training.world import keypoints
from dispose_stages.training.world.body import BodyPose, BodyShape, pose_joints
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.scene import OCCLUDED, OUTSIDE, VISIBLE, Scene, random_scene

_LEFT_OF_BODY = (1, 3, 5, 7, 9, 11, 13, 15)
_MIRROR_FACE = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
SIZE = {"height": 160, "width": 112}


def scene(seed: int = 5, **options: object) -> Scene:
    return random_scene(seed, **{**SIZE, "frames": 6, "fps": 12.0, **options})


def test_same_seed_renders_same_pixels_and_truth() -> None:
    """A scene depends on its arguments only."""
    first, second = scene().render(3), scene().render(3)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.keypoints, second.keypoints)
    assert np.array_equal(first.boxes, second.boxes)


def test_other_seed_renders_another_figure() -> None:
    """Seeds matter."""
    assert not np.array_equal(scene(5).render(0).image, scene(6).render(0).image)


@pytest.mark.parametrize("motion", sorted(MOTIONS))
def test_motion_moves_smoothly(motion: str) -> None:
    """Joints move, and never jump."""
    times = np.arange(48) / 24
    pose = MOTIONS[motion](times, np.random.default_rng(1))
    points = pose_joints(BodyShape(), pose).keypoints
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert steps.max() > 0.004
    assert steps.max() < 0.12


def test_bones_keep_their_length() -> None:
    """Whatever the pose, an arm is as long as the shape says."""
    shape = BodyShape()
    pose = MOTIONS["dance"](np.arange(30) / 24, np.random.default_rng(2))
    points = pose_joints(shape, pose).keypoints
    forearm = np.linalg.norm(points[:, 9] - points[:, 7], axis=-1)
    shin = np.linalg.norm(points[:, 16] - points[:, 14], axis=-1)
    assert np.allclose(forearm, shape.forearm)
    assert np.allclose(shin, shape.shin)


def test_standing_figure_is_on_the_floor_and_left_is_on_the_right() -> None:
    """A figure that faces the camera shows its left hand on the image's right."""
    points = pose_joints(BodyShape(), BodyPose.standing(1)).keypoints[0]
    assert points[keypoints.FEET, 1].min() == pytest.approx(0.0)
    assert points[9, 0] > points[10, 0]
    assert points[keypoints.LEFT_HAND, 0].mean() > points[keypoints.RIGHT_HAND, 0].mean()


def mirror_indices() -> np.ndarray:
    """Where each keypoint of a horizontally flipped image comes from; (133,) integers."""
    order = np.arange(keypoints.COUNT)
    for left in _LEFT_OF_BODY:
        order[left], order[left + 1] = left + 1, left
    order[17:20], order[20:23] = np.arange(20, 23), np.arange(17, 20)
    order[keypoints.FACE] = 23 + _MIRROR_FACE
    order[keypoints.LEFT_HAND], order[keypoints.RIGHT_HAND] = (
        np.arange(112, 133),
        np.arange(91, 112),
    )
    return order


def test_mirror_of_a_symmetric_figure_is_itself() -> None:
    """Left lies as far out as right in every part."""
    points = pose_joints(BodyShape(), BodyPose.standing(1)).keypoints[0]
    order = mirror_indices()
    assert np.array_equal(order[order], np.arange(keypoints.COUNT))
    assert np.allclose(points[order] * [-1, 1, 1], points, atol=1e-9)


def test_box_holds_visible_keypoints_of_the_body() -> None:
    """The box is what is painted, so joints inside the figure are inside it."""
    frame = scene(9).render(2)
    body = frame.keypoints[0, slice(17)]
    shown = body[body[:, 2] == VISIBLE, :2]
    low, high = frame.boxes[0, :2], frame.boxes[0, 2:]
    assert ((shown >= low) & (shown <= high)).all()
    assert (frame.boxes[0] >= 0).all()


def test_flags_tell_outside_and_hidden_keypoints() -> None:
    """Cut-off joints are outside the image; a far face is occluded."""
    flags = dict.fromkeys((OUTSIDE, OCCLUDED, VISIBLE), 0)
    for seed in range(12):
        frame = scene(seed, whole=False).render(0)
        points, kinds = frame.keypoints[0, :, :2], frame.keypoints[0, :, 2]
        inside = ((points >= 0) & (points < [SIZE["width"], SIZE["height"]])).all(axis=1)
        assert np.array_equal(kinds != OUTSIDE, inside)
        for flag in flags:
            flags[flag] += int((kinds == flag).sum())
    assert all(flags.values())


def test_frame_without_figures() -> None:
    """Backgrounds alone are frames too."""
    frame = scene(3, actors=0).render(0)
    assert frame.boxes.shape == (0, 4)
    assert frame.keypoints.shape == (0, 133, 3)


def test_flow_of_no_time_is_zero() -> None:
    """A frame does not move against itself."""
    assert np.abs(scene(4).flow(2, 2)).max() < 1e-4


def test_flow_takes_limb_joints_where_they_go() -> None:
    """At a visible limb joint the flow is the joint's displacement."""
    errors, moved = [], []
    for seed in range(6):
        world = random_scene(seed, height=256, width=192, frames=6, fps=12.0, motion="wave")
        before, after = world.render(1).keypoints[0], world.render(3).keypoints[0]
        flow = world.flow(1, 3)
        for joint in (7, 8, 13, 14):
            x, y, flag = before[joint]
            if flag == VISIBLE:
                errors.append(np.abs(flow[int(y), int(x)] - (after - before)[joint, :2]).max())
                moved.append(np.abs((after - before)[joint, :2]).max())
    assert max(moved) > 3
    assert np.median(errors) < 0.3
    assert max(errors) < 2.0


def test_flow_is_zero_on_the_background() -> None:
    """Only figures move."""
    world = scene(7)
    flow = world.flow(0, 4)
    x1, y1, x2, y2 = world.render(0).boxes[0].astype(int)
    flow[max(y1 - 1, 0) : y2 + 2, max(x1 - 1, 0) : x2 + 2] = 0
    assert not flow.any()


def test_what_layers_cover_is_what_is_painted() -> None:
    """Nothing but their smooth edges lies outside; what is hidden is covered too."""
    drawn = scene()
    covered = drawn.covered(3)
    painted = (drawn.render(3).image != drawn.background).any(axis=-1)
    figure = np.any(list(covered.values()), axis=0)
    near = cv2.dilate(figure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not np.any(painted & ~near)
    assert np.mean(painted[figure]) > 0.99
    assert np.any(covered["0/torso"] & covered["0/left_thigh"])
