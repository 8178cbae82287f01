from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from skimage import metrics as reference
from torchmetrics.functional.image import structural_similarity_index_measure

from dispose_stages.score import disco, similarity


def frames(height, width, seed=0):
    """A smooth picture and a damaged copy of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    truth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.roll(truth, 1, axis=1) + rng.normal(0, 6, truth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), truth


SIZES = [(64, 48), (101, 67), (180, 181)]


@pytest.mark.parametrize("size", SIZES)
def test_psnr_and_l1_are_those_of_scikit_image(size):
    """PSNR over all channels; L1 in [0, 1]."""
    result, truth = frames(*size)
    assert similarity.psnr(result, truth) == pytest.approx(
        reference.peak_signal_noise_ratio(truth, result, data_range=255), rel=1e-12
    )
    assert similarity.l1(result, truth) == pytest.approx(
        np.abs(result / 255.0 - truth / 255.0).mean(), rel=1e-12
    )


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_that_of_scikit_image(size):
    """Gaussian windows inside the image, per channel."""
    result, truth = frames(*size)
    wanted = reference.structural_similarity(
        truth,
        result,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert similarity.structural_similarity(result, truth)[0] == pytest.approx(wanted, abs=1e-6)


def planes(frame):
    return torch.from_numpy(frame.astype(np.float64)).permute(2, 0, 1)[None]


def test_ms_ssim_is_made_of_what_torchmetrics_gives_per_scale():
    """Contrast of four scales and similarity of the fifth, windows inside the image."""
    result, truth = (planes(f) for f in frames(231, 197))
    factors = []
    for scale in range(5):
        if scale:
            result, truth = (torch.nn.functional.avg_pool2d(p, 2) for p in (result, truth))
        options = {"data_range": 255.0, "sigma": 1.5}
        _, contrast = structural_similarity_index_measure(
            result, truth, return_contrast_sensitivity=True, **options
        )
        _, whole = structural_similarity_index_measure(
            result, truth, return_full_image=True, **options
        )
        factors.append(float(contrast) if scale < 4 else float(whole[..., 5:-5, 5:-5].mean()))
    wanted = math.prod(f**w for f, w in zip(factors, similarity.SCALE_WEIGHTS, strict=True))
    found = similarity.structural_similarity(*frames(231, 197))[1]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_equal_frames():
    """The best value of every measure, and no frame that differs reaches it."""
    _, truth = frames(180, 180)
    other = truth.copy()
    other[0, 0, 0] ^= 1
    assert similarity.psnr(truth, truth) == similarity.EQUAL_PSNR
    assert similarity.l1(truth, truth) == 0
    assert similarity.structural_similarity(truth, truth) == pytest.approx((1, 1), abs=1e-9)
    assert similarity.psnr(other, truth) < similarity.EQUAL_PSNR


def test_a_small_frame_has_no_ms_ssim():
    """Neither has one below a window any SSIM."""
    ssim, ms_ssim = similarity.structural_similarity(*frames(128, 72))
    assert 0 < ssim < 1
    assert math.isnan(ms_ssim)
    tiny = np.zeros((10, 40, 3), np.uint8)
    assert all(math.isnan(v) for v in similarity.structural_similarity(tiny, tiny))


def test_only_the_mask_counts():
    """Damage outside of the mask changes nothing; a masked part gives that part's value."""
    result, truth = frames(240, 200)
    mask = np.zeros((240, 200), dtype=bool)
    mask[:200, :190] = True
    damaged = result.copy()
    damaged[~mask] = 0
    for measure in (similarity.l1, similarity.psnr):
        part = measure(result[:200, :190], truth[:200, :190])
        assert measure(damaged, truth, mask) == pytest.approx(part, rel=1e-6)
    ssim, ms_ssim = similarity.structural_similarity(damaged, truth, mask)
    part = similarity.structural_similarity(
        np.ascontiguousarray(result[:200, :190]), np.ascontiguousarray(truth[:200, :190])
    )
    assert ssim == pytest.approx(part[0], abs=1e-6)
    # A mask that ends between halved pixels loses that row.
    assert ms_ssim == pytest.approx(part[1], abs=0.02)
    assert math.isnan(similarity.l1(result, truth, np.zeros_like(mask)))
    nothing = similarity.structural_similarity(result, truth, np.zeros_like(mask))
    assert all(math.isnan(v) for v in nothing)


@pytest.mark.parametrize("size", SIZES)
def test_disco_ssim_is_scikit_images_on_grey(size):
    """Its defaults: 7 x 7 windows, sample covariance."""
    result, truth = frames(*size)
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (truth, result)]
    wanted = reference.structural_similarity(*grey, data_range=255)
    assert disco.ssim(result, truth) == pytest.approx(wanted, abs=1e-9)


def test_disco_before_its_repair_wraps_around():
    """A difference of -1 counts as 255, and its square as 1."""
    truth = np.full((8, 8, 3), 100, np.uint8)
    assert disco.psnr_wrapped(truth - 1, truth) == pytest.approx(20 * math.log10(255))
    assert disco.psnr_wrapped(truth + 16, truth) == similarity.EQUAL_PSNR  # 256 is 0 in 8 bits
    assert disco.psnr(truth + 16, truth) == pytest.approx(20 * math.log10(255 / 16))


def test_disco_l1_shrinks_with_resolution():
    """Twice the side, a quarter of the value: no correct L1."""
    small, large = (np.full((s, s, 3), 10, np.uint8) for s in (8, 16))
    value = disco.l1(small, np.zeros_like(small))
    assert value == pytest.approx(10 / 64)
    assert disco.l1(large, np.zeros_like(large)) == pytest.approx(value / 4)
