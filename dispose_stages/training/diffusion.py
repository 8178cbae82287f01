"""The denoising objective of Stable Video Diffusion: v-prediction over continuous noise levels.

Source: Karras et al. 2022 (preconditioning), Blattmann et al. 2023 (noise levels); MimicMotion and
DisPose train with the same loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from dispose_stages.config_section import Section

Predict = Callable[[Float[Tensor, "b f 4 h w"], Float[Tensor, "b"]], Float[Tensor, "b f 4 h w"]]


class NoiseLevels(Section):
    """Noise levels of the denoising loss: a normal distribution of ln sigma, cut off."""

    mean: float = 1.0
    """Of ln sigma."""
    deviation: float = Field(default=1.7, gt=0)
    """Of ln sigma."""
    lowest: float = Field(default=0.002, gt=0)
    """Smallest sigma."""
    highest: float = Field(default=700.0, gt=0)
    """Largest sigma; that of the bundle's scheduler too."""

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "b"]:
        """Noise levels of a batch, spread evenly over the distribution's quantiles."""
        offset = torch.rand(1, generator=generator)
        order = torch.randperm(count, generator=generator)
        return self.quantile(((order + offset) / count).clamp(1e-4, 1 - 1e-4))

    def quantile(self, share: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Noise levels below which such a share of all levels lies."""
        sigma: Tensor = (self.mean + self.deviation * torch.special.ndtri(share)).exp()
        return sigma.clamp(self.lowest, self.highest)


def add_noise(
    clean: Float[Tensor, "b f 4 h w"],
    sigma: Float[Tensor, "b"],
    noise: Float[Tensor, "b f 4 h w"],
) -> tuple[Float[Tensor, "b f 4 h w"], Float[Tensor, "b"], Float[Tensor, "b f 4 h w"]]:
    """Noisy clips, one noise level per clip, and what the network shall say about them.

    With ``c = sqrt(sigma^2 + 1)`` the sampler reads a prediction ``v`` of a noisy ``x`` as
    ``x / c^2 - v sigma / c``, which is solved for the ``v`` that gives the clean latents.

    Returns:
        Noisy latents at unit variance; the timestep ``0.25 ln sigma`` of each clip; the target
        ``v``.
    """
    level = sigma.view(-1, 1, 1, 1, 1)
    scale = (level**2 + 1).sqrt()
    noisy = clean + level * noise
    target = (noisy / scale**2 - clean) * scale / level
    return noisy / scale, 0.25 * sigma.log(), target


def denoising_loss(
    predict: Predict,
    clean: Float[Tensor, "b f 4 h w"],
    weight: Float[Tensor, "b f 1 h w"],
    sigma: Float[Tensor, "b"],
    noise: Float[Tensor, "b f 4 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean square error of ``v``.

    Args:
        predict: From noisy latents and timestep to ``v``.
        clean: Latents in the VAE's scaled space.
        weight: Per latent, of mean one for an unchanged scale of the loss.
        noise: Unit normal.
    """
    noisy, timestep, target = add_noise(clean, sigma, noise)
    error = (predict(noisy, timestep).float() - target) ** 2
    return (weight * error).mean()
