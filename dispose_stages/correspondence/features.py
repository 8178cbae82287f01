"""Diffusion features of an image (DIFT): a map that resembles itself at resembling places.

Source: algorithm §6. One VAE encode, several draws of its posterior and of the noise, one pass of
the UNet over all draws, and their mean.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from dispose_stages.models.dift import DiftNetwork

LATENT_CHANNELS = 4
LATENT_SCALE = 8
"""Pixels per latent."""


FeatureNoise = tuple[Float32[Tensor, "n 4 h w"], Float32[Tensor, "n 4 h w"]]
"""Unit normal: for the draws of the VAE's posterior, and added to the latents."""


def noise_seed(image: UInt8[np.ndarray, "height width 3"], seed: int) -> int:
    """63-bit seed from an image's content and a number, the same on every machine."""
    digest = hashlib.sha256(f"{image.shape}|{seed}|".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def draw_noise(seed: int, ensemble: int, height: int, width: int) -> FeatureNoise:
    """Noise for `ensemble` draws, from a CPU generator: posterior first, then diffusion.

    The same numbers as the original's with ``torch.manual_seed(seed)`` on a CPU. There the latents
    come out of a convolution in channels-last order, and the diffusion noise, drawn like them,
    takes another of PyTorch's two ways to draw normals.

    Args:
        ensemble: Number of draws.
        height: Of the image, pixels.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    shape = (ensemble, LATENT_CHANNELS, height // LATENT_SCALE, width // LATENT_SCALE)
    posterior = torch.randn(shape, generator=generator)
    diffusion = torch.empty(shape, memory_format=torch.channels_last)
    return posterior, diffusion.normal_(generator=generator).contiguous()


def network_image(
    image: UInt8[np.ndarray, "height width 3"],
) -> Float32[Tensor, "1 3 height width"]:
    """The untouched pixels in [-1, 1]."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return (planes.float() / 255 - 0.5) * 2


def diffusion_features(
    network: DiftNetwork,
    image: UInt8[np.ndarray, "height width 3"],
    noise: FeatureNoise,
    *,
    timestep: int,
    batch: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Float[Tensor, "c h w"]:
    """Mean of the features over all draws.

    Args:
        network: Encodes the image and gives features of noisy latents.
        image: Reference at target size, RGB.
        noise: From `draw_noise`.
        timestep: How far the latents are diffused.
        batch: Draws per pass of the UNet; bounds memory. Sums run over draws in order, so that
            the result does not depend on it beyond the rounding of the network.
        device: Where the network is.

    Returns:
        Feature map, on `device`.
    """
    posterior, diffusion = (draws.to(device, dtype) for draws in noise)
    with torch.inference_mode():
        mean, deviation = network.posterior(network_image(image).to(device, dtype))
        latents = mean + deviation * posterior
        noisy = network.noisy(latents, diffusion, timestep)
        parts = [noisy[start : start + batch] for start in range(0, len(noisy), batch)]
        passes = [network.features(part, timestep) for part in parts]
        return torch.cat(passes).mean(dim=0)
