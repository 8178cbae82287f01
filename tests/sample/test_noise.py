"""Seeded noise."""

import torch

from dispose_stages.sample.noise import draw_noise, repeat_to_length


def test_image_noise_comes_first() -> None:
    """Both draws are the first and second of one generator."""
    generator = torch.Generator().manual_seed(9)
    image = torch.randn(1, 3, 64, 128, generator=generator)
    latents = torch.randn(1, 4, 4, 8, 16, generator=generator)
    drawn = draw_noise(9, height=64, width=128, tile_size=4, device="cpu")
    assert torch.equal(drawn[0], image)
    assert torch.equal(drawn[1], latents[0])


def test_seed_decides_and_global_state_is_left_alone() -> None:
    """Equal seeds give equal noise, others other noise, and nobody else's randomness moves."""
    before = torch.get_rng_state()
    size = {"height": 64, "width": 64, "tile_size": 2, "device": "cpu"}
    first, again, other = (draw_noise(seed, **size)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_device_noise_is_rounded_as_the_networks_would() -> None:
    """Drawing on the device happens in the dtype of the networks; the loop gets float32."""
    _, latents = draw_noise(
        1,
        height=64,
        width=64,
        tile_size=2,
        device="cpu",
        source="device",
        device_dtype=torch.bfloat16,
    )
    assert latents.dtype == torch.float32
    assert torch.equal(latents, latents.bfloat16().float())


def test_one_tile_is_repeated_over_the_clip() -> None:
    """Frame f has the noise of frame f modulo the tile; a short clip takes the beginning."""
    tile = torch.arange(3.0)[:, None, None, None].expand(3, 4, 1, 1)
    assert repeat_to_length(tile, 7)[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert repeat_to_length(tile, 2)[:, 0, 0, 0].tolist() == [0, 1]
