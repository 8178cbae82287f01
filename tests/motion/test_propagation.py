from __future__ import annotations

import numpy as np
from torch import Tensor

from dispose_stages.motion.propagation import propagate_flow, sparse_impulses

FRAMES = 7


class FakeNetwork:
    """Adds the image's mean to the displacements and remembers what it was asked."""

    def __init__(self) -> None:
        self.encoded = 0
        self.batches: list[int] = []

    def encode_image(self, image: Tensor, /) -> Tensor:
        self.encoded += 1
        return image.mean()

    def propagate(self, encoded: Tensor, sparse: Tensor, /) -> Tensor:
        self.batches.append(len(sparse))
        return sparse[:, :2, ::2, ::2] + encoded


def flow_of(network: FakeNetwork, batch: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.random((FRAMES + 1, 18, 2))
    impulses = sparse_impulses(
        points, np.ones((FRAMES + 1, 18), dtype=bool), 64, 64, compat="official", size=64
    )
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    flow = propagate_flow(network, image, impulses, batch=batch, device="cpu", size=64)
    return np.concatenate(list(flow))


def test_image_is_encoded_once_and_batches_are_bounded() -> None:
    """One encoding per clip, never more frames at once than allowed."""
    network = FakeNetwork()
    flow = flow_of(network, 3)
    assert flow.shape == (FRAMES, 2, 32, 32)
    assert network.encoded == 1
    assert network.batches == [3, 3, 1]


def test_batch_size_keeps_frames_in_order() -> None:
    """Any batch size gives the same field."""
    np.testing.assert_array_equal(flow_of(FakeNetwork(), 2), flow_of(FakeNetwork(), 100))
    assert flow_of(FakeNetwork(), 1).dtype == np.float32
