from __future__ import annotations

import numpy as np

from dispose_stages.geometry.tracks import (
    frame_to_frame,
    pixel_track,
    reference_to_frame,
    scale_track,
)


def test_track_is_clipped_to_the_image() -> None:
    """Keypoints outside end on the border, invisible ones at the origin."""
    points = np.array([[[-0.5, 0.5], [0.5, 2.0], [0.25, 0.25]]])
    track = pixel_track(points, np.array([[True, True, False]]), 100, 40)
    np.testing.assert_array_equal(track, [[[0, 50], [20, 99], [0, 0]]])


def test_later_keypoint_wins_a_shared_pixel() -> None:
    """Only the last of several moving keypoints on one pixel is kept, frame by frame."""
    points = np.array(
        [[[0.1, 0.1]] * 3 + [[0.5, 0.5]], [[0.2, 0.2], [0.3, 0.3], [0.4, 0.4], [0.6, 0.6]]]
    )
    visible = np.array([[True, True, False, True], [True] * 4])
    impulses = frame_to_frame(pixel_track(points, visible, 50, 50), visible, compat="official")
    np.testing.assert_array_equal(impulses.written, [[False, True, False, True]])
    np.testing.assert_allclose(impulses.displacement[0, 1], [10, 10])


def test_official_sends_a_vanishing_keypoint_to_the_origin() -> None:
    """Q7 and Q8: it moves by minus its position."""
    points = np.full((2, 1, 2), 0.5)
    visible = np.array([[True], [False]])
    track = pixel_track(points, visible, 100, 100)
    for rule in (frame_to_frame, reference_to_frame):
        impulses = rule(track, visible, compat="official")
        assert impulses.written.all()
        np.testing.assert_array_equal(impulses.displacement[0, 0], [-50, -50])


def test_corrected_writes_nothing_for_a_hidden_keypoint() -> None:
    """Corrected Q7 and Q8: a keypoint moves only if both frames show it."""
    points = np.random.default_rng(0).random((3, 4, 2))
    visible = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)
    track = pixel_track(points, visible, 64, 64)
    stepwise = frame_to_frame(track, visible, compat="corrected")
    np.testing.assert_array_equal(stepwise.written, [[1, 0, 0, 0], [1, 0, 1, 0]])
    total = reference_to_frame(track, visible, compat="corrected")
    np.testing.assert_array_equal(total.written, [[1, 0, 0, 0], [1, 1, 0, 0]])


def test_official_writes_hidden_reference_keypoints_at_the_origin() -> None:
    """Q8: keypoints invisible in the reference all write at pixel (0, 0), the last one stays."""
    points = np.array([[[0.5, 0.5]] * 3, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]])
    visible = np.array([[False, False, True], [True, True, True]])
    impulses = reference_to_frame(
        pixel_track(points, visible, 100, 100), visible, compat="official"
    )
    np.testing.assert_array_equal(impulses.written, [[False, True, True]])
    assert (impulses.rows[0, 1], impulses.columns[0, 1]) == (0, 0)
    np.testing.assert_allclose(impulses.displacement[0, 1], [30, 40])


def test_scaled_track_is_on_the_square() -> None:
    """Both axes are brought to the same size."""
    track = np.array([[[63.0, 127.0]]])
    np.testing.assert_allclose(scale_track(track, 128, 64, 384), [[[378.0, 381.0]]])
