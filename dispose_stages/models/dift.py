"""Diffusion features (DIFT) of Stable Diffusion 1.5: the networks, and only what is needed.

Source: algorithm §6 and Tang et al. 2023 (DIFT). Of the VAE only the encoder, of the UNet nothing
after the up block whose output is the feature, and of the text encoder nothing but the embedding of
one prompt are kept. Building blocks and key names are those of diffusers and transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Float32
from torch import Tensor, nn

UP_BLOCK = 1
"""The up block whose output is the feature (1/16 of the image, 1280 channels in SD 1.5)."""


class FeatureUNet(nn.Module):
    """SD's UNet up to one up block; nothing after it exists.

    Args:
        full: The whole network on the meta device.
        up_block: Index of the last up block that is kept.
    """

    def __init__(self, full: nn.Module, up_block: int) -> None:
        super().__init__()
        self.conv_in = full.get_submodule("conv_in")
        self.time_proj = full.get_submodule("time_proj")
        self.time_embedding = full.get_submodule("time_embedding")
        self.down_blocks = nn.ModuleList(full.get_submodule("down_blocks").children())
        self.mid_block = full.get_submodule("mid_block")
        kept = list(full.get_submodule("up_blocks").children())[: up_block + 1]
        self.up_blocks = nn.ModuleList(kept)
        self.eval()

    def forward(
        self,
        latents: Float[Tensor, "b 4 h w"],
        timestep: int,
        context: Float[Tensor, "b tokens d"],
    ) -> Float[Tensor, "b c h_out w_out"]:
        """Output of the last up block that is kept."""
        steps = torch.full((len(latents),), timestep, device=latents.device)
        embedding = self.time_embedding(self.time_proj(steps).to(latents.dtype))
        x = self.conv_in(latents)
        skips = [x]
        for block in self.down_blocks:
            text = {"encoder_hidden_states": context} if _attends(block) else {}
            x, residuals = block(hidden_states=x, temb=embedding, **text)
            skips += residuals
        x = self.mid_block(x, embedding, encoder_hidden_states=context)
        for block in self.up_blocks:
            count = len(list(block.get_submodule("resnets").children()))
            residuals, skips = tuple(skips[-count:]), skips[:-count]
            text = {"encoder_hidden_states": context} if _attends(block) else {}
            x = block(hidden_states=x, res_hidden_states_tuple=residuals, temb=embedding, **text)
        features: Tensor = x
        return features


def _attends(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


class LatentEncoder(nn.Module):
    """The VAE's encoder half; the decoder is never allocated."""

    def __init__(self, full: nn.Module) -> None:
        super().__init__()
        self.encoder = full.get_submodule("encoder")
        self.quant_conv = full.get_submodule("quant_conv")
        self.eval()

    def forward(
        self, image: Float[Tensor, "b 3 height width"]
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 4 h w"]]:
        """Mean and standard deviation of the posterior, unscaled. The image is in [-1, 1]."""
        mean, log_variance = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30.0, 20.0)).exp()


@dataclass(frozen=True, slots=True)
class DiftNetwork:
    """All that turns an image into diffusion features.

    Attributes:
        vae: Image to posterior.
        unet: Noisy latents to features.
        prompt: Embedding of the prompt.
        signal: The scheduler's cumulative products of alpha, per timestep.
        scaling_factor: Of the VAE's latents.
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
    """Cumulative products of alpha of a scheduler config, whatever its class, read as DDIM."""
    scheduler: Any = DDIMScheduler
    alphas: Tensor = scheduler.from_config(dict(config)).alphas_cumprod
    return alphas
