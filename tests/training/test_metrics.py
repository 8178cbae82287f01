"""Measures of quality."""

from __future__ import annotations

import numpy as np

from dispose_stages.artifacts import Frame
from dispose_stages.training.metrics import clothes_colours, correct_keypoints, psnr, ssim


def frame(points: np.ndarray, scores: np.ndarray) -> Frame:
    """One person whose first 18 of 134 keypoints are given."""
    keypoints, confidence = np.zeros((1, 134, 2)), np.zeros((1, 134))
    keypoints[0, :18], confidence[0, :18] = points, scores
    return Frame(keypoints, confidence, np.zeros((1, 4)), np.ones(1))


def test_pck_counts_keypoints_within_a_tenth_of_the_extent() -> None:
    """Near ones count, far or unseen ones do not, hidden ones are not asked for."""
    wanted = np.stack([np.full(18, 0.5), np.linspace(0.1, 0.9, 18)], axis=1)
    visible = np.arange(18) != 17
    found, scores = wanted.copy(), np.ones(18)
    extent = np.ptp(wanted[visible, 1])
    found[0, 1] += 0.09 * extent
    found[1, 1] += 0.11 * extent
    scores[2] = 0.3
    hits = correct_keypoints(frame(found, scores), wanted, visible, visible, aspect=1.0)
    assert hits.tolist() == [True, False, False] + [True] * 14
    asked = np.arange(18) == 1
    assert correct_keypoints(frame(found, scores), wanted, visible, asked, 1.0).tolist() == [False]


def test_pck_measures_distances_in_pixels_not_in_normalised_units() -> None:
    """In a narrow image a step in x is shorter than one in y."""
    wanted = np.stack([np.full(18, 0.5), np.linspace(0.0, 1.0, 18)], axis=1)
    shifted = wanted + np.array([0.15, 0.0])
    everything = np.ones(18, dtype=bool)
    for aspect, expected in ((0.5, 1.0), (1.0, 0.0)):
        hits = correct_keypoints(
            frame(shifted, np.ones(18)), wanted, everything, everything, aspect
        )
        assert hits.mean() == expected


def test_psnr_and_ssim_know_equal_and_different_images() -> None:
    """A known error has its known ratio; unrelated images are not similar."""
    rng = np.random.default_rng(0)
    image = rng.integers(10, 240, (32, 24, 3), dtype=np.uint8)
    assert ssim(image, image) > 0.999
    np.testing.assert_allclose(psnr(image + np.uint8(5), image), 20 * np.log10(255 / 5))
    other = rng.integers(10, 240, (32, 24, 3), dtype=np.uint8)
    assert abs(ssim(image, other)) < 0.2


def test_colours_are_read_between_shoulders_and_hips_and_on_the_thighs() -> None:
    """The right patch of each; nan where a keypoint is hidden."""
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    points = np.zeros((18, 2))
    points[1], points[8], points[11] = (0.5, 0.2), (0.4, 0.6), (0.6, 0.6)
    points[9], points[12] = (0.4, 0.9), (0.6, 0.9)
    image[35:45, 45:55] = (255, 0, 0)
    image[70:80, 35:45] = (0, 255, 0)
    visible = np.ones(18, dtype=bool)
    visible[12] = False
    colours = clothes_colours(image, points, visible)
    np.testing.assert_allclose(colours[:2], [[1, 0, 0], [0, 1, 0]])
    assert np.isnan(colours[2]).all()
