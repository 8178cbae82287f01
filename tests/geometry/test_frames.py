from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dispose_stages.geometry.frames import (
    cover_resize,
    cover_size,
    crop_offset,
    effective_stride,
    frames_by_time,
    sampled_frames,
    target_size,
)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1920, 1080, (1024, 576)), (1080, 1920, (576, 1024)), (500, 500, (576, 576))],
)
def test_target_follows_orientation(height, width, expected):
    """Tall, wide and square images have their own target."""
    assert target_size(height, width, 576) == expected


@pytest.mark.parametrize("resolution", [0, -64, 100, 577])
def test_resolution_must_be_a_multiple_of_64(resolution):
    """Other sizes would break the adapter's levels (Q17)."""
    with pytest.raises(ValueError, match="multiple of 64"):
        target_size(10, 10, resolution)


def test_targets_are_multiples_of_64():
    """Every resolution and orientation gives sides the networks can divide."""
    for resolution in range(64, 2000, 64):
        for shape in ((3, 2), (2, 3), (2, 2)):
            assert all(side % 64 == 0 and side > 0 for side in target_size(*shape, resolution))


def test_cover_size_covers():
    """Neither side of the resized image is shorter than the target's."""
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 3000, (300, 2)):
        target = target_size(height, width, 576)
        covered = cover_size(int(height), int(width), *target)
        assert covered[0] >= target[0]
        assert covered[1] >= target[1]
        assert covered[0] == target[0] or covered[1] == target[1]


def test_crop_offsets_round_half_to_even():
    """Half a pixel goes to the even side."""
    assert [crop_offset(size, 64) for size in (64, 65, 67, 69)] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "shape", [(37, 91), (300, 200), (64, 64), (1, 1), (5, 400), (400, 5), (192, 128), (1000, 999)]
)
def test_cover_resize_equals_torch(shape):
    """The same pixels as float32 bilinear interpolation without antialiasing, then a crop."""
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    height, width = target_size(*shape, 128)
    full = cover_size(*shape, height, width)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(
        planes, size=full, mode="bilinear", align_corners=False
    )
    top, left = crop_offset(full[0], height), crop_offset(full[1], width)
    expected = resized.round().byte()[0, :, top : top + height, left : left + width].numpy()
    actual = cover_resize(image, height, width).transpose(2, 0, 1)
    # torch may fuse multiply and add, which turns a tie now and then.
    assert np.abs(actual.astype(int) - expected).max() <= 1
    assert (actual != expected).mean() < 1e-3


def test_an_image_of_target_size_is_untouched():
    """No resampling where none is needed."""
    image = np.random.default_rng(2).integers(0, 256, (192, 128, 3), dtype=np.uint8)
    assert np.array_equal(cover_resize(image, 192, 128), image)


@pytest.mark.parametrize(
    ("stride", "fps", "expected"),
    [(1, 24, 1), (2, 47.9, 2), (2, 48, 4), (3, 60, 6), (2, 15, 2), (2, 0, 2), (2, 120, 10)],
)
def test_stride_grows_with_the_frame_rate(stride, fps, expected):
    """Whole multiples of 24 fps multiply the stride; slow videos keep it."""
    assert effective_stride(stride, fps) == expected


def test_stride_must_be_positive():
    """A stride of zero would never end."""
    with pytest.raises(ValueError, match="at least 1"):
        effective_stride(0, 24)


def test_sampled_frames():
    """First frame, stride, limit; nothing beyond the end."""
    assert sampled_frames(7, 30.0, 2) == [0, 2, 4, 6]
    assert sampled_frames(7, 30.0, 2, start_frame=3) == [3, 5]
    assert sampled_frames(100, 30.0, 2, start_frame=1, max_frames=3) == [1, 3, 5]
    assert sampled_frames(7, 30.0, 2, start_frame=7) == []
    assert sampled_frames(1, 60.0, 2) == [0]


def test_frames_need_no_torch():
    """Planning and reading media must start fast."""
    check = (
        "import sys, dispose_stages.geometry.frames, dispose_stages.geometry.drawing,"
        " dispose_stages.geometry.persons; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@given(
    st.integers(1, 200), st.floats(1, 120), st.integers(1, 5), st.integers(0, 210),
    st.none() | st.integers(1, 30),
)  # fmt: skip
def test_at_a_constant_rate_time_is_number(count, fps, stride, start, limit):
    """Whatever the reading parameters."""
    times = np.arange(count) / fps
    expected = sampled_frames(count, fps, stride, start, limit)
    assert frames_by_time(times, fps, stride, start, limit) == expected


def test_the_nearest_frame_is_read():
    """Where frames are dense some are passed over, where they are sparse some are read again."""
    times = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.8, 1.2, 1.6])
    fps = 7 / 1.6
    assert frames_by_time(times, fps, 1) == [0, 2, 4, 5, 5, 6, 6, 7]
    assert frames_by_time(times, fps, 2) == [0, 4, 5, 6]
    assert frames_by_time(times, fps, 1, 6) == [6, 7, 7]
    assert frames_by_time(times, fps, 1, 0, 3) == [0, 2, 4]
    assert frames_by_time(times, fps, 1, 8) == []
    assert frames_by_time(np.array([0.0]), 25.0, 2) == [0]
