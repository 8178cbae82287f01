"""Diffusion features (DIFT) of Stable Diffusion 1.5: the networks, and only what is needed.

Source: algorithm §6 and Tang et al. 2023 (DIFT). Of the VAE only the encoder, of the UNet nothing
after the up block whose output is the feature, and of the text encoder nothing but the embedding of
one prompt are kept. Key names are those of diffusers and transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.errors import WeightsError
from dispose_stages.models.autoencoder import LatentEncoder
from dispose_stages.models.feature_unet import FeatureUNet

UP_BLOCK = 1
"""The up block whose output is the feature (1/16 of the image, 1280 channels in SD 1.5)."""


@dataclass(frozen=True, slots=True)
class DiftNetwork:
    """All that turns an image into diffusion features.

    Attributes:
        vae: Image to posterior.
        unet: Noisy latents to features.
        prompt: Embedding of the prompt.
        signal: The scheduler's cumulative products of alpha, per timestep.
    """

    vae: LatentEncoder
    unet: FeatureUNet
    prompt: Float[Tensor, "1 tokens d"]
    signal: Float32[Tensor, "timesteps"]
    scaling_factor: float

    def posterior(
        self, image: Float[Tensor, "1 3 height width"]
    ) -> tuple[Float[Tensor, "1 4 h w"], Float[Tensor, "1 4 h w"]]:
        """Mean and standard deviation of the latents in the UNet's space."""
        mean, deviation = self.vae(image)
        return mean * self.scaling_factor, deviation * self.scaling_factor

    def noisy(
        self, latents: Float[Tensor, "b 4 h w"], noise: Float[Tensor, "b 4 h w"], timestep: int
    ) -> Float[Tensor, "b 4 h w"]:
        """Latents after `timestep` steps of diffusion with this noise."""
        signal = float(self.signal[timestep])
        return math.sqrt(signal) * latents + math.sqrt(1 - signal) * noise

    def features(
        self, latents: Float[Tensor, "b 4 h w"], timestep: int
    ) -> Float[Tensor, "b c h_out w_out"]:
        """Features of noisy latents."""
        context = self.prompt.expand(len(latents), -1, -1)
        features: Tensor = self.unet(latents, timestep, context)
        return features


def cumulative_signal(config: Mapping[str, Any]) -> Float32[Tensor, "timesteps"]:
    """Cumulative products of alpha of a scheduler config, whatever its class.

    Raises:
        WeightsError: Its betas are spaced in a way that Stable Diffusion's are not.
    """
    try:
        kind, count = config["beta_schedule"], int(config["num_train_timesteps"])
        first, last = float(config["beta_start"]), float(config["beta_end"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"not the configuration of a scheduler: {error!r}") from error
    if kind != "scaled_linear" or config.get("trained_betas"):
        raise WeightsError(f"betas of Stable Diffusion are scaled_linear, not {kind}")
    betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float32) ** 2
    return torch.cumprod(1.0 - betas, dim=0)
