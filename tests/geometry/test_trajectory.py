from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dispose_stages.config import Compat
from dispose_stages.geometry.tracks import frame_to_frame, pixel_track
from dispose_stages.geometry.trajectory import (
    KERNEL_SIZE,
    gaussian_weights,
    spread_weights,
    trajectory_field,
)


def filtered(
    points: np.ndarray, visible: np.ndarray, height: int, width: int, compat: Compat
) -> np.ndarray:
    """The definition: an image of impulses, filtered with the square Gaussian."""
    impulses = frame_to_frame(pixel_track(points, visible, height, width), visible, compat=compat)
    weights = gaussian_weights()
    kernel = np.outer(weights, weights)
    fields = []
    for frame in range(len(impulses)):
        image = np.zeros((height, width, 2))
        for keypoint in np.flatnonzero(impulses.written[frame]):
            place = impulses.rows[frame, keypoint], impulses.columns[frame, keypoint]
            image[place] = impulses.displacement[frame, keypoint]
        # OpenCV wants the border narrower than the image, NumPy reflects as often as needed.
        reach = KERNEL_SIZE // 2
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        whole = cv2.filter2D(padded, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        fields.append(whole[reach:-reach, reach:-reach].transpose(2, 0, 1))
    return np.stack(fields)


def compute(
    points: np.ndarray,
    visible: np.ndarray,
    height: int,
    width: int,
    compat: Compat = "official",
    dtype: torch.dtype = torch.float64,
) -> np.ndarray:
    return trajectory_field(
        points, visible, height, width, compat=compat, device="cpu", dtype=dtype
    ).numpy()


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(2, 240),
    width=st.integers(2, 240),
    compat=st.sampled_from(["official", "corrected"]),
)
def test_equals_the_filter(seed: int, height: int, width: int, compat: Compat) -> None:
    """Outer products give what filtering gives, on images smaller than the kernel too."""
    rng = np.random.default_rng(seed)
    points = rng.random((3, 18, 2)) * 1.3 - 0.15
    points[:, 5] = points[:, 3]
    visible = rng.random((3, 18)) > 0.2
    expected = filtered(points, visible, height, width, compat)
    actual = compute(points, visible, height, width, compat)
    assert np.abs(actual - expected).max() < 1e-12 * max(height, width)


def test_slice_of_frames_is_bit_equal() -> None:
    """A tile's field is the slice of the clip's field, to the bit."""
    rng = np.random.default_rng(1)
    points, visible = rng.random((12, 18, 2)), rng.random((12, 18)) > 0.1
    whole = compute(points, visible, 128, 192, dtype=torch.float32)
    part = compute(points[4:9], visible[4:9], 128, 192, dtype=torch.float32)
    assert whole[4:8].tobytes() == part.tobytes()


def test_rigid_translation_has_one_direction_everywhere() -> None:
    """All keypoints moved alike: the field over its weights is that constant displacement."""
    rng = np.random.default_rng(2)
    height, width, move = 256, 320, np.array([7.5, -3.25])
    start = rng.random((18, 2)) * 0.5 + 0.25
    points = np.stack([start, start + move / (width, height)])
    visible = np.ones((2, 18), dtype=bool)
    field = compute(points, visible, height, width, "corrected")[0]
    unit = compute(
        np.stack([start, start + 1.0 / np.array([width, height])]), visible, height, width
    )
    weight = unit[0, 0]
    support = weight > 1e-9
    assert support.mean() > 0.5
    ratio = field[:, support] / weight[support]
    np.testing.assert_allclose(ratio.T - move, 0.0, atol=1e-6)


def test_vanishing_keypoint_does_not_move_when_corrected() -> None:
    """Corrected Q7: no field at all; official: the keypoint flies to the origin."""
    points = np.full((2, 18, 2), 0.5)
    visible = np.zeros((2, 18), dtype=bool)
    visible[0, 4] = True
    assert not compute(points, visible, 128, 128, "corrected").any()
    assert compute(points, visible, 128, 128, "official").min() < -1e-3


def test_weights_of_a_line_sum_to_one() -> None:
    """Reflection loses nothing: every filtered pixel's weights sum to 1."""
    for length in (1, 2, 7, 99, 400):
        np.testing.assert_allclose(spread_weights(length).sum(axis=0), 1.0, rtol=1e-12)


def test_reduced_precision_is_rounded_once() -> None:
    """A half-precision field is the rounded float64 one."""
    rng = np.random.default_rng(3)
    points, visible = rng.random((3, 18, 2)), np.ones((3, 18), dtype=bool)
    exact = torch.from_numpy(compute(points, visible, 64, 64))
    half = trajectory_field(
        points, visible, 64, 64, compat="official", device="cpu", dtype=torch.float16
    )
    assert torch.equal(exact.half(), half)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_equals_cpu() -> None:
    """Both devices give the same field."""
    rng = np.random.default_rng(4)
    points, visible = rng.random((5, 18, 2)), rng.random((5, 18)) > 0.1
    device = trajectory_field(
        points, visible, 256, 192, compat="official", device="cuda", dtype=torch.float64
    )
    np.testing.assert_allclose(device.cpu(), compute(points, visible, 256, 192), atol=1e-14)
