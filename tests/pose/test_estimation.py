from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.models.whole_body import estimation


def test_boxes_are_padded_and_widened():
    """Size x 1.25, then the shorter side grows to 3:4."""
    boxes = np.array([[10.0, 20, 110, 220], [0, 0, 300, 40]])
    centres, sizes = estimation.box_centre_and_size(boxes, 288 / 384)
    assert centres.tolist() == [[60, 120], [150, 20]]
    assert sizes.tolist() == [[187.5, 250], [375, 500]]


@pytest.mark.parametrize("size", [(384, 288), (96, 72)])
def test_crop_centres_the_box(size):
    """The box's centre lands at the middle of the crop, its edges at the border."""
    height, width = size
    matrix = estimation.crop_matrix(np.array([60.0, 120]), np.array([187.5, 250]), height, width)
    corners = np.array([[60, 120, 1], [60 - 93.75, 120 - 125, 1], [60 + 93.75, 120 + 125, 1]])
    expected = [[width / 2, height / 2], [0, 0], [width, height]]
    np.testing.assert_allclose(corners @ matrix.T, expected, atol=1e-4)


def test_crop_is_black_beyond_the_frame():
    """A box that reaches out of the frame."""
    image = np.full((50, 50, 3), 255, dtype=np.uint8)
    crop = estimation.crop_person(image, np.array([0.0, 0.0]), np.array([72.0, 96.0]), 96, 72)
    assert not crop[:40, :30].any()
    assert (crop[50:, 40:] == 255).all()


def test_normalisation():
    """(x - mean) / std per RGB channel, in float32."""
    crop = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    planes = estimation.network_input([crop, crop])
    expected = (crop.astype(np.float64) - estimation.MEAN) / estimation.STD
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    assert np.array_equal(planes[1], expected.transpose(2, 0, 1).astype(np.float32))


def test_simcc_takes_the_best_bin_and_the_lesser_maximum():
    """Half-pixel bins."""
    x, y = np.zeros((1, 1, 12), np.float32), np.zeros((1, 1, 16), np.float32)
    x[0, 0, 5], y[0, 0, 8] = 0.7, 0.4
    locations, scores = estimation.decode_simcc(x, y)
    assert locations.tolist() == [[[2.5, 4.0]]]
    assert scores.tolist() == [[np.float32(0.4)]]


@pytest.mark.parametrize("low", [0.0, -0.2])
def test_a_score_that_is_not_positive_has_no_location(low):
    """Bin -1 on both axes."""
    x, y = np.full((1, 1, 12), low, np.float32), np.zeros((1, 1, 16), np.float32)
    y[0, 0, 8] = 0.4
    locations, scores = estimation.decode_simcc(x, y)
    assert locations.tolist() == [[[-0.5, -0.5]]]
    assert scores[0, 0] == np.float32(low)


def test_crop_and_back():
    """A point of the frame survives the way through the crop."""
    centres, sizes = estimation.box_centre_and_size(np.array([[40.0, 30, 90, 170]]), 0.75)
    matrix = estimation.crop_matrix(centres[0], sizes[0], 96, 72)
    point = np.array([[55.0, 66.0, 1.0]]) @ matrix.T
    back = estimation.to_frame(point[None].astype(np.float32), centres, sizes, (96, 72))
    np.testing.assert_allclose(back[0, 0], [55, 66], atol=1e-3)


def test_frame_pose_is_normalised_by_width_and_height():
    """x by the width, y by the height, 134 points."""
    keypoints = np.tile([30.0, 40.0], (2, 133, 1))
    frame = estimation.frame_pose(
        keypoints, np.full((2, 133), 0.5, np.float32), np.zeros((2, 4)), np.ones(2), (80, 60)
    )
    assert frame.keypoints.shape == (2, 134, 2)
    assert (frame.keypoints == 0.5).all()
