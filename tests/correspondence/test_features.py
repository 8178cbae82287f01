from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dispose_stages.correspondence.features import (
    diffusion_features,
    draw_noise,
    network_image,
    noise_seed,
)


class FakeNetwork:
    """Passes latents through, counting what it is asked."""

    def __init__(self) -> None:
        self.encoded = 0
        self.batches: list[int] = []

    def posterior(self, image: Tensor, /) -> tuple[Tensor, Tensor]:
        self.encoded += len(image)
        mean = torch.full((1, 4, image.shape[2] // 8, image.shape[3] // 8), float(image.mean()))
        return mean, torch.full_like(mean, 0.5)

    def noisy(self, latents: Tensor, noise: Tensor, timestep: int, /) -> Tensor:
        return latents + timestep * noise

    def features(self, latents: Tensor, timestep: int, /) -> Tensor:
        self.batches.append(len(latents))
        return latents + timestep


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 128, 3)).astype(np.uint8)


def compute(network: FakeNetwork, batch: int) -> Tensor:
    return diffusion_features(
        network,
        image(),
        draw_noise(3, 8, 64, 128),
        timestep=2,
        batch=batch,
        device="cpu",
        dtype=torch.float32,
    )


def test_one_encoding_and_one_pass_over_all_draws() -> None:
    """The VAE sees one image, the UNet one batch of eight; their mean is the feature."""
    network = FakeNetwork()
    features = compute(network, 8)
    assert (network.encoded, network.batches) == (1, [8])
    posterior, diffusion = draw_noise(3, 8, 64, 128)
    level = float(network_image(image()).mean())
    expected = (level + 0.5 * posterior + 2 * diffusion + 2).mean(dim=0)
    torch.testing.assert_close(features, expected)


def test_smaller_passes_give_the_same() -> None:
    """Batches bound memory; an ensemble that they do not divide works."""
    network = FakeNetwork()
    assert torch.equal(compute(network, 3), compute(FakeNetwork(), 8))
    assert network.batches == [3, 3, 2]


def test_seed_depends_on_content_and_number() -> None:
    """Same pixels and number, same seed; anything else, another."""
    first = image()
    changed = first.copy()
    changed[0, 0, 0] ^= 1
    seeds = {
        noise_seed(first, 42),
        noise_seed(changed, 42),
        noise_seed(first, 43),
        noise_seed(first.reshape(128, 64, 3), 42),
    }
    assert len(seeds) == 4
    assert noise_seed(first.copy(), 42) in seeds
    assert noise_seed(first[:, ::-1].copy()[:, ::-1], 42) == noise_seed(first, 42)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_noise_is_reproducible_and_normal() -> None:
    """A seed gives the same unit normals every time, another seed others."""
    noise, again = draw_noise(7, 8, 256, 128), draw_noise(7, 8, 256, 128)
    assert all(map(torch.equal, noise, again))
    other = draw_noise(8, 8, 256, 128)
    for values, others in zip(noise, other, strict=True):
        assert values.shape == (8, 4, 32, 16)
        assert float(values.mean()) == pytest.approx(0, abs=0.05)
        assert float(values.std()) == pytest.approx(1, abs=0.05)
        assert not torch.equal(values, others)


def test_pixels_are_untouched() -> None:
    """Black is -1, white is 1, nothing is truncated on the way (Q10)."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    values = network_image(levels)[0, 0].flatten()
    torch.testing.assert_close((values + 1) * 127.5, torch.arange(256.0), rtol=0, atol=1e-4)
    assert (values[0], values[-1]) == (-1, 1)
