"""What the sampler derives from the reference image and the numeric conditions (algorithm §9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

CLIP_SIZE = 224
"""Side of the square image that the CLIP encoder reads, pixels."""


def as_seen_by_sampler(
    image: UInt8[Tensor, "3 H W"], *, compat: Literal["official", "corrected"], dtype: torch.dtype
) -> UInt8[Tensor, "3 H W"]:
    """The reference with the brightness steps that the original loses (Q10).

    The original scales the image to [-1, 1] and back and truncates, which leaves some of the 256
    levels one lower: 63 in float32, 20 in float16.

    Args:
        image: Target-size reference.
        compat: ``corrected`` returns the image as it is.
        dtype: In which the original would compute: float16 for half precision, else float32.
    """
    if compat == "corrected":
        return image
    normalised = image.to(dtype) / 127.5 - 1
    return ((normalised + 1) * 127.5).to(torch.uint8)


def normalise_image(image: UInt8[Tensor, "3 H W"]) -> Float32[Tensor, "1 3 H W"]:
    """Scale to [-1, 1], float32."""
    return (image[None].float() / 255.0) * 2.0 - 1.0


def _gaussian_kernel(size: int, sigma: float, like: Tensor) -> Float[Tensor, "k"]:
    offsets = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    kernel = torch.exp(-(offsets**2) / (2.0 * sigma**2))
    return kernel / kernel.sum()


def _blur_axis(image: Float[Tensor, "1 c h w"], factor: float, axis: int) -> Tensor:
    """Gaussian along one axis, as wide as shrinking by `factor` asks for."""
    sigma = max((factor - 1.0) / 2.0, 0.001)
    size = int(max(4.0 * sigma, 3.0)) | 1
    channels = image.shape[1]
    kernel = _gaussian_kernel(size, sigma, image)
    half = size // 2
    padding = (half, half, 0, 0) if axis == -1 else (0, 0, half, half)
    weight = kernel.view((1, 1, 1, -1) if axis == -1 else (1, 1, -1, 1))
    padded = F.pad(image, padding, mode="reflect")
    return F.conv2d(padded, weight.expand(channels, -1, -1, -1), groups=channels)


def resize_antialiased(
    image: Float[Tensor, "1 c h w"], height: int, width: int
) -> Float[Tensor, "1 c H W"]:
    """Gaussian blur, then aligned bicubic sampling: how SVD shrinks images for CLIP."""
    blurred = _blur_axis(image, image.shape[-1] / width, -1)
    blurred = _blur_axis(blurred, image.shape[-2] / height, -2)
    return F.interpolate(blurred, (height, width), mode="bicubic", align_corners=True)


def clip_pixels(
    image: Float32[Tensor, "1 3 H W"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "1 3 224 224"]:
    """Input of the CLIP image encoder.

    Args:
        image: Reference in [-1, 1].
        mean: Per channel, from the checkpoint's feature extractor.
    """
    resized = (resize_antialiased(image, CLIP_SIZE, CLIP_SIZE) + 1.0) / 2.0
    mean_, std_ = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (mean, std))
    return (resized - mean_) / std_


def encode_reference(
    image: Float32[Tensor, "1 3 H W"],
    noise: Float32[Tensor, "1 3 H W"],
    noise_aug_strength: float,
    posterior_mode: Callable[[Float32[Tensor, "1 3 H W"]], Float[Tensor, "1 4 h w"]],
) -> Float32[Tensor, "4 h w"]:
    """Latent of the reference that is shown to the UNet beside the noisy latents.

    The posterior's mode, not scaled by the VAE's factor.

    Args:
        image: Reference in [-1, 1].
        noise: Unit normal; drawn before the initial latents.
        noise_aug_strength: Factor of `noise`.
        posterior_mode: VAE encoder. Where the VAE overflows in float16 it has to run in float32.
    """
    return posterior_mode(image + noise_aug_strength * noise)[0].float()


def added_time_ids(
    noise_aug_strength: float,
    *,
    condition_fps: float = 7,
    motion_bucket_id: float = 127,
    device: torch.device | str,
) -> Float32[Tensor, "1 3"]:
    """Frame rate minus one, motion bucket, noise augmentation: the numeric conditions."""
    # The released weights were trained on the frame rate minus one.
    ids = [condition_fps - 1.0, float(motion_bucket_id), noise_aug_strength]
    return torch.tensor([ids], device=device)
