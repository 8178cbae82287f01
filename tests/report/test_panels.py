from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.motion import overlay
from dispose_stages.report import panels
from dispose_stages.report.panels import SIDE
from tests.motion.test_proportions import aligned, tracks


def track(frames: int, *, spread: float = 1.0) -> PoseTrack:
    """One person whose body keypoints move to the right."""
    made = []
    for index in range(frames):
        points = np.full((1, 134, 2), -1.0)
        points[0, :18] = np.linspace(0.2, 0.8, 18)[:, None] * spread
        points[0, :18, 0] += 0.01 * index
        scores = np.zeros((1, 134))
        scores[0, :18] = 0.9
        made.append(Frame(points, scores, np.zeros((1, 4)), np.ones(1)))
    return PoseTrack.from_frames(made, list(range(frames)), 64, 96, 30.0)


def field(frames: int, flow: float = 9.0, **other: float) -> MotionField:
    """A field that moves the right half to the right and the left half to the left."""
    stored = np.zeros((frames - 1, 2, 192, 192), np.int16)
    stored[:, 0, :, 96:], stored[:, 0, :, :96] = flow * 655, -flow * 655
    poses = track(frames, **other)
    return MotionField(poses, np.zeros(frames, int), stored, 1024, 576, (1, 1), (0, 0), 0.0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 576), (320, 180)),
        ((576, 1024), (180, 320)),
        ((1, 9000), (16, 320)),
        ((7, 7), (320,) * 2),
    ],
)
def test_panels_keep_proportions(size, expected) -> None:
    """Even, never empty, and no side longer than the limit."""
    assert panels.panel_size(*size) == expected


@pytest.mark.parametrize(("count", "step"), [(0, 1), (1, 1), (150, 1), (151, 2), (10_000, 67)])
def test_long_clips_are_thinned_out(count: int, step: int) -> None:
    """However long the clip, there are few frames, evenly apart, and the first is among them."""
    shown, apart = panels.shown_frames(count)
    assert apart == step
    assert len(shown) <= panels.MAX_FRAMES
    assert list(shown) == list(range(0, count, step))


@pytest.mark.parametrize(("size", "enough"), [((320, 180), True), ((180, 320), False)])
def test_true_frames_lie_in_the_results_place(size: tuple[int, int], enough: bool) -> None:
    """Scaled to cover it, the centre cut out, whatever their shape; small ones only if they do."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, size[1] // 2 :] = 200
    shown = panels.in_place(image, field(2))
    assert shown.shape == (SIDE, 180, 3)
    assert (shown[:, :85] < 20).all()
    assert (shown[:, 95:] > 180).all()
    assert panels.large_enough(image, field(2)) is enough


def test_trajectories_show_where_keypoints_came_from() -> None:
    """The trail grows with the frames; the ground is the dimmed reference."""
    reference = np.full((1024, 576, 3), 200, np.uint8)
    shown = panels.trajectories(reference, field(9), range(8))
    assert shown[0].shape == (SIDE, 180, 3)
    np.testing.assert_array_equal(shown[0][0, 0], 90)
    drawn = [(frame != 90).any(axis=-1).sum() for frame in shown]
    assert drawn[7] > drawn[0] > 0


def test_aligned_poses_are_those_of_the_driving_frames() -> None:
    """Frame 0 of the panel is the first driving frame, not the reference."""
    motion = field(4)
    first, *_ = panels.aligned_poses(motion, range(3))
    np.testing.assert_array_equal(first, panels.skeleton(motion.poses[1], SIDE, 180))
    assert (first != panels.skeleton(motion.poses[0], SIDE, 180)).any()


def test_bodies_are_drawn_over_each_other() -> None:
    """Reference, driver and both fits, each in its colour; the reference where nobody drives."""
    reference, driving = tracks("unlike, standing")
    motion = aligned(reference, driving)
    motion.person[-1] = -1
    last = len(driving) - 1
    first, bare = panels.fits(motion, driving, range(0, last + 1, last))
    assert first.shape == panels.aligned_poses(motion, range(1))[0].shape
    colours = overlay.REFERENCE, overlay.OFFICIAL, overlay.PROPORTIONS
    assert [near(first, colour) for colour in colours] == [True, True, True]
    assert [near(bare, colour) for colour in colours] == [True, False, False]


def near(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Whether a picture that was shrunk shows a colour."""
    return bool((np.abs(image.astype(int) - colour).max(axis=-1) < 40).any())


@pytest.mark.parametrize("size", [(900, 16), (16, 900), (16, 16)])
@pytest.mark.parametrize("spread", [50.0, 1e8])
def test_wild_poses_are_drawn(size: tuple[int, int], spread: float) -> None:
    """Coordinates far outside and drivers a few pixels wide are no error."""
    frame = panels.fitted(np.full((*size, 3), 99, np.uint8))
    (shown,) = panels.found_poses([frame], track(1, spread=spread), range(1))
    assert shown.shape == frame.shape
    wild = field(3, spread=spread)
    assert len(panels.trajectories(np.zeros((1024, 576, 3), np.uint8), wild, range(2))) == 2


def test_the_field_has_one_scale_over_all_frames() -> None:
    """Directions have different colours; a frame that moves half as far is paler."""
    motion = field(3)
    flow = np.zeros((2, 2, 192, 192), np.float32)
    flow[0, 0, :, 96:], flow[0, 0, :, :96] = 10, -10
    flow[1] = flow[0] / 2
    target = panels.target_flow(flow, motion)
    np.testing.assert_allclose(target[0, 0, 0, -1], 10 * 576 / 384)
    far, near = panels.dense_motion(target, motion, 15.0)
    assert far.shape == (SIDE, 180, 3)
    left, right = far[100, 20].astype(int), far[100, -20].astype(int)
    assert right[0] > right[2] + 100
    assert left[2] > left[0] + 100
    assert near[100, -20].min() > far[100, -20].min()


def test_panels_lie_side_by_side() -> None:
    """Each at its place; what is lower than the highest has black below."""
    shown = {
        "a": [np.full((20, 10, 3), n, np.uint8) for n in (1, 2)],
        "b": [np.ones((8, 6, 3), np.uint8)] * 2,
    }
    frames, places = panels.side_by_side(shown)
    assert places == [
        ("a", 0, 10, 20),
        ("b", 10, 6, 8),
    ]
    assert frames[1].shape == (20, 16, 3)
    assert (frames[1][:, :10] == 2).all()
    assert (frames[1][:8, 10:] == 1).all()
    assert not frames[1][8:, 10:].any()


def test_stills_look_like_the_image() -> None:
    """Colours survive compression."""
    image = np.zeros((320, 180, 3), np.uint8)
    image[:160] = (200, 60, 40)
    shown = np.asarray(Image.open(io.BytesIO(panels.still(image))).convert("RGB"))
    np.testing.assert_allclose(shown[60, 100], (200, 60, 40), atol=12)
    np.testing.assert_allclose(shown[300, 100], 0, atol=12)


def test_the_legend_is_round() -> None:
    """A wheel on nothing."""
    wheel = np.asarray(Image.open(io.BytesIO(panels.legend())))
    assert wheel[0, 0, 3] == 0
    assert (wheel[48, 48, :3] > 200).all()
