"""The denoising objective of Stable Video Diffusion: v-prediction over continuous noise levels.

Source: Karras et al. 2022 (preconditioning), Blattmann et al. 2023 (noise levels); MimicMotion and
DisPose train with the same loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NoiseLevels:
    """Distribution of the noise level: its logarithm is normal, cut off at both ends.

    Attributes:
        mean: Of ``ln sigma``.
        deviation: Likewise.
        lowest: Smallest sigma.
        highest: Largest sigma.
    """

    mean: float = 1.0
    deviation: float = 1.7
    lowest: float = 0.002
    highest: float = 700.0

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "b"]:
        """Noise levels of a batch, spread evenly over the distribution's quantiles."""
        offset = torch.rand(1, generator=generator)
        order = torch.randperm(count, generator=generator)
        quantile = ((order + offset) / count).clamp(1e-4, 1 - 1e-4)
        normal = torch.special.ndtri(quantile)
        sigma: Tensor = (self.mean + self.deviation * normal).exp()
        return sigma.clamp(self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class NoisyClip:
    """A batch of noisy clips and what the network shall say about them.

    Attributes:
        inputs: Noisy latents at unit variance.
        timestep: ``0.25 ln sigma``, one per clip.
        target: ``v``.
    """

    inputs: Float[Tensor, "b f 4 h w"]
    timestep: Float[Tensor, "b"]
    target: Float[Tensor, "b f 4 h w"]


def add_noise(
    clean: Float[Tensor, "b f 4 h w"],
    sigma: Float[Tensor, "b"],
    noise: Float[Tensor, "b f 4 h w"],
) -> NoisyClip:
    """Noisy clips; one noise level per clip.

    With ``c = sqrt(sigma^2 + 1)`` the sampler reads a prediction ``v`` of a noisy ``x`` as
    ``x / c^2 - v sigma / c``, which is solved for the ``v`` that gives the clean latents.
    """
    level = sigma.view(-1, 1, 1, 1, 1)
    scale = (level**2 + 1).sqrt()
    noisy = clean + level * noise
    target = (noisy / scale**2 - clean) * scale / level
    return NoisyClip(noisy / scale, 0.25 * sigma.log(), target)


def denoising_loss(
    predict: Callable[[NoisyClip], Float[Tensor, "b f 4 h w"]],
    clean: Float[Tensor, "b f 4 h w"],
    weight: Float[Tensor, "b f 1 h w"],
    sigma: Float[Tensor, "b"],
    noise: Float[Tensor, "b f 4 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean square error of ``v``.

    Args:
        predict: The network.
        clean: Latents in the VAE's scaled space.
        weight: Per latent, of mean one for an unchanged scale of the loss.
        sigma: Noise level per clip.
        noise: Unit normal.
    """
    noisy = add_noise(clean, sigma, noise)
    error = (predict(noisy).float() - noisy.target) ** 2
    return (weight * error).mean()
