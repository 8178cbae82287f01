"""Measures of quality."""

from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.score.keypoints import WantedPose
from dispose_stages.training.metrics import (
    clothes_colours,
    colour_errors,
    figure_regions,
    near_wanted,
)
from dispose_stages.training.quality import pck

ARM_AND_LEG = ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")


def wanted_pose(visible: np.ndarray | None = None) -> WantedPose:
    """One frame with the body on a line, 100 pixels long."""
    points = np.zeros((1, 134, 2))
    points[0, :18] = np.stack([np.full(18, 50.0), np.linspace(10.0, 110.0, 18)], axis=1)
    shown = np.zeros((1, 134), dtype=bool)
    shown[0, :18] = True if visible is None else visible
    return WantedPose(points, shown)


def test_pck_counts_keypoints_within_a_tenth_of_the_extent() -> None:
    """Near ones count, far or unseen ones do not, hidden ones are not asked for."""
    wanted = wanted_pose()
    points, seen = wanted.points.copy(), np.ones((1, 134), dtype=bool)
    points[0, 0, 1] += 9.0
    points[0, 1, 0] -= 11.0
    seen[0, 2] = False
    assert near_wanted(points, wanted)[0].tolist() == [True, False] + [True] * 16
    assert pck(points, seen, wanted) == pytest.approx(16 / 18)
    asked = np.zeros((1, 134), dtype=bool)
    asked[0, 1] = True
    assert pck(points, seen, wanted, asked) == 0.0
    assert np.isnan(pck(points, seen, wanted, np.zeros((1, 134), dtype=bool)))


def test_hidden_keypoints_do_not_widen_the_tolerance() -> None:
    """The box is that of the visible ones."""
    visible = np.arange(18) < 9
    wanted = wanted_pose(visible)
    points = wanted.points.copy()
    points[0, 0, 1] += 9.0
    near = near_wanted(points, wanted)[0]
    assert not near[0]
    assert near[1:9].all()


def test_colours_are_read_where_the_clothes_are() -> None:
    """Upper body and thighs of a painted image; nan where a keypoint is hidden."""
    image = np.zeros((120, 90, 3), dtype=np.uint8)
    image[:60] = [255, 0, 0]
    image[60:] = [0, 0, 255]
    points, visible = np.zeros((134, 2)), np.ones(134, dtype=bool)
    points[[1, 8, 11]] = [[45, 20], [35, 50], [55, 50]]
    points[[9, 12]] = [[35, 100], [55, 100]]
    visible[12] = False
    colours = clothes_colours(image, points, visible)
    assert colours[0].tolist() == [1, 0, 0]
    assert colours[1].tolist() == [0, 0, 1]
    assert np.isnan(colours[2]).all()


def test_a_limb_crosses_where_it_hides_another() -> None:
    """Only what is in front is seen; the trunk behind an arm is no crossing."""
    masks = {
        f"0/{name}": np.zeros((6, 8), dtype=bool)
        for name in (
            "torso",
            *(f"{side}_{part}" for side in ("left", "right") for part in ARM_AND_LEG),
            "head",
        )
    }
    masks["0/torso"][:, :4] = masks["0/left_hand"][2:4, 2:] = True
    masks["0/right_shin"][:3, 6:] = masks["0/head"][0, 0] = True
    figure, shown, crossing = figure_regions(masks)
    assert np.array_equal(figure, np.any(list(masks.values()), axis=0))
    assert [limb.sum() for limb in shown] == [12 - 2, 0, 0, 6]
    assert [limb.sum() for limb in crossing] == [0, 0, 0, 2]


def test_colour_errors_are_of_mean_colours_and_of_large_regions() -> None:
    """Texture cancels out; a handful of pixels says nothing."""
    truth = np.full((8, 8, 3), 100, dtype=np.uint8)
    image = truth.copy()
    image[::2] += 51
    image[1::2] -= 51
    large, small = np.ones((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    small[0, :3] = True
    assert colour_errors(image, truth, [large, small]) == [0.0]
    assert colour_errors(image[::2], truth[::2], [large[::2]]) == [pytest.approx(0.2)]
