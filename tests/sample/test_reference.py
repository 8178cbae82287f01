"""Conditions that come from the reference image."""

import pytest
import torch

from dispose_stages.sample.reference import (
    added_time_ids,
    as_seen_by_sampler,
    clip_pixels,
    encode_reference,
    normalise_image,
    resize_antialiased,
)

LEVELS = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)


@pytest.mark.parametrize(("dtype", "lower"), [(torch.float32, 63), (torch.float16, 20)])
def test_official_loses_brightness_steps(dtype: torch.dtype, lower: int) -> None:
    """Q10: so many of the 256 levels come back one lower, the others unchanged."""
    seen = as_seen_by_sampler(LEVELS, compat="official", dtype=dtype)
    loss = LEVELS[0].int() - seen[0].int()
    assert loss.unique().tolist() == [0, 1]
    assert loss.sum() == lower


def test_corrected_keeps_the_image() -> None:
    """Q10 is not applied with `compat: corrected`."""
    assert torch.equal(as_seen_by_sampler(LEVELS, compat="corrected", dtype=torch.float32), LEVELS)


@pytest.mark.filterwarnings("ignore")  # diffusers' pipelines import optional packages
@pytest.mark.parametrize("size", [(576, 320), (224, 224), (100, 1000), (64, 128), (225, 223)])
def test_resize_is_that_of_the_library(size: tuple[int, int]) -> None:
    """Blur and aligned bicubic resize equal diffusers' own for SVD, which is slow to import."""
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
        _resize_with_antialiasing,
    )

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = _resize_with_antialiasing(image, (224, 224))
    assert (resize_antialiased(image, 224, 224) - expected).abs().max() < 2e-6


def test_clip_pixels_of_flat_grey() -> None:
    """A flat image stays flat; mean and deviation are taken off per channel."""
    image = normalise_image(torch.full((3, 64, 64), 255, dtype=torch.uint8))
    pixels = clip_pixels(image, [0.5, 0.25, 0.0], [0.5, 0.25, 2.0])
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.amin((0, 2, 3)).tolist() == pytest.approx([1.0, 3.0, 0.5], abs=1e-5)
    assert pixels.amax((0, 2, 3)).tolist() == pytest.approx([1.0, 3.0, 0.5], abs=1e-5)


def test_reference_is_augmented_before_it_is_encoded() -> None:
    """The encoder sees the image plus noise times strength; its mode is not rescaled."""
    image, noise = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    latent = encode_reference(image, noise, 0.25, lambda x: x.mean().expand(1, 4, 1, 1))
    assert latent.shape == (4, 1, 1)
    assert latent.unique().tolist() == [0.25]


def test_time_ids() -> None:
    """Frame rate minus one, motion bucket, augmentation strength."""
    assert added_time_ids(0.5, device="cpu").tolist() == [[6.0, 127.0, 0.5]]
    told = added_time_ids(0.0, condition_fps=24, motion_bucket_id=30, device="cpu")
    assert told.tolist() == [[23.0, 30.0, 0.0]]
