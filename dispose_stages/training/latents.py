"""Latents and image embeddings of a clip store, on disk beside it, by the frozen encoders."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32
from torch import Tensor

from dispose_stages.training.clip_store import ArrayStore, ClipStore

LATENT_CHANNELS, LATENT_STRIDE = 4, 8


def to_pixels(images: np.ndarray) -> Float32[Tensor, "n 3 h w"]:
    """uint8 RGB images as the networks read them, in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class LatentStore(ArrayStore):
    """Posterior modes (unscaled) of every frame."""

    def __init__(self, clips: ClipStore) -> None:
        super().__init__(clips.folder, "latents")
        self.clips = clips
        s = clips.sizes
        size = (s.height // LATENT_STRIDE, s.width // LATENT_STRIDE)
        self.modes: Float16[np.ndarray, "n f 4 h w"] = self.array(
            "latents", (s.count, s.frames, LATENT_CHANNELS, *size), np.float16
        )

    @torch.no_grad()
    def fill(self, vae: Any, *, device: torch.device | str = "cpu", chunk: int = 5) -> None:
        """Encode what is missing."""

        def encode(rows: slice) -> None:
            pixels = to_pixels(self.clips.images[rows].reshape(-1, *self.clips.images.shape[2:]))
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                modes = vae.encode(pixels.to(device))
            self.modes[rows] = modes.float().cpu().numpy().reshape(self.modes[rows].shape)

        self.fill_up(self.clips.sizes.count, encode, chunk=chunk)


@torch.no_grad()
def normalise_latents(
    vae: Any, images: Float[Tensor, "n 3 h w"], scaling_factor: float
) -> tuple[Float[Tensor, "4"], Float[Tensor, "4"]]:
    """Give every latent channel mean 0 and, times `scaling_factor`, deviation 1.

    What the sampler assumes of the published VAE is folded into the weights on both sides of the
    latent: the reconstruction stays as it is (but for a shift at the border, where the decoder's
    first convolution pads with zeros).

    Returns:
        Mean and deviation before.
    """
    modes = vae.encode(images)
    mean, deviation = modes.mean(dim=(0, 2, 3)), modes.std(dim=(0, 2, 3))
    gain = 1 / (deviation * scaling_factor)
    channels = len(mean)
    vae.quant_conv.weight[:channels] *= gain.view(-1, 1, 1, 1)
    vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) * gain
    entry = vae.decoder.conv_in
    entry.bias += torch.einsum("o c k l, c -> o", entry.weight, mean)
    entry.weight /= gain.view(1, -1, 1, 1)
    # The spread of the posterior is not trained: nothing reads it, so it is made small.
    vae.quant_conv.weight[channels:] = 0
    vae.quant_conv.bias[channels:] = -10
    return mean, deviation
