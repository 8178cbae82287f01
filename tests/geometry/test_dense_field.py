from __future__ import annotations

import numpy as np
import pytest
import torch

from dispose_stages.geometry.dense_field import (
    FIXED_POINT_STEP,
    FLOW_LIMIT,
    dense_field,
    dense_field_array,
    enlarge_flow,
    from_fixed_point,
    resize_flow,
    to_fixed_point,
)


def full_field(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize_flow(enlarge_flow(torch.from_numpy(flow)), height, width).numpy()


def test_stored_field_is_within_its_bound() -> None:
    """The full field rebuilt from storage differs by at most half a unit of the fixed point."""
    rng = np.random.default_rng(0)
    flow = rng.uniform(-FLOW_LIMIT, FLOW_LIMIT, (3, 2, 192, 192)).astype(np.float32)
    height, width = 320, 192
    rebuilt = dense_field(
        to_fixed_point(flow), height, width, device="cpu", dtype=torch.float32
    ).numpy()
    error = np.abs(rebuilt - full_field(flow, height, width)).max(axis=(0, 2, 3))
    # float32 of values up to 50 adds a few of its own units.
    slack = 4 * np.spacing(np.float32(FLOW_LIMIT))
    assert error[0] <= (FIXED_POINT_STEP / 2 + slack) * width / 384
    assert error[1] <= (FIXED_POINT_STEP / 2 + slack) * height / 384
    assert FIXED_POINT_STEP / 2 < 0.0008
    half = np.abs(
        full_field(flow.astype(np.float16).astype(np.float32), height, width)
        - full_field(flow, height, width)
    ).max()
    assert half > 5 * error.max()


def test_rebuilt_field_is_what_storing_it_would_give() -> None:
    """Rebuilding twice, or frame by frame, gives the same bits."""
    stored = np.random.default_rng(1).integers(-32767, 32768, (5, 2, 192, 192)).astype(np.int16)
    whole = dense_field(stored, 128, 256, device="cpu", dtype=torch.float32)
    again = dense_field(stored, 128, 256, device="cpu", dtype=torch.float32)
    single = [
        dense_field(stored[i : i + 1], 128, 256, device="cpu", dtype=torch.float32)
        for i in range(5)
    ]
    assert torch.equal(whole, again)
    assert torch.equal(whole, torch.cat(single))


def test_fixed_point_is_stable() -> None:
    """Converting there and back and there again changes nothing."""
    stored = np.arange(-32767, 32768, dtype=np.int16)
    np.testing.assert_array_equal(to_fixed_point(from_fixed_point(stored)), stored)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 50.01, -51.0])
def test_impossible_flow_is_refused(bad: float) -> None:
    """Values that fixed point cannot hold are errors, not wrapped numbers."""
    with pytest.raises(ValueError, match="finite and within"):
        to_fixed_point(np.array([0.0, bad]))


def test_flow_is_scaled_with_the_image() -> None:
    """A constant flow of the square becomes that motion in pixels of the target."""
    flow = np.empty((1, 2, 192, 192), dtype=np.float32)
    flow[:, 0], flow[:, 1] = 12.0, -6.0
    field = full_field(flow, 768, 192)
    np.testing.assert_allclose(field[:, 0], 6.0)
    np.testing.assert_allclose(field[:, 1], -12.0)


@pytest.mark.parametrize(
    ("height", "width"), [(128, 128), (1024, 576), (100, 333), (384, 384), (1216, 704), (704, 1408)]
)
def test_without_torch_the_field_is_the_same(height, width):
    """Also where pixels fall between samples.

    torch's positions are float32, off by up to 2e-5 of a sample; neighbours differ by up to 100 px.
    """
    flow = np.random.default_rng(3).uniform(-FLOW_LIMIT, FLOW_LIMIT, (1, 2, 192, 192))
    stored = to_fixed_point(flow)
    expected = dense_field(stored, height, width, device="cpu", dtype=torch.float32)[0].numpy()
    bound = 3e-3 * max(1.0, height / 384, width / 384)
    found = dense_field_array(stored[0], height, width)
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
