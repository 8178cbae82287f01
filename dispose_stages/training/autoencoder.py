"""Training of the temporal VAE on frames of the procedural world."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.models.autoencoder import PositionAttention
from dispose_stages.models.residual import ResidualBlock, TemporalResidualBlock
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.loop import Losses

LATENT_NOISE = 0.1
COLOUR_WEIGHT = 1.0
SCALE_WEIGHT = 1e-3
EDGE_WEIGHT = 0.5


@torch.no_grad()
def start_as_identity(vae: nn.Module) -> None:
    """Silence the last layer of every residual branch.

    The network then starts as a chain of down- and upsampling convolutions, which finds colours
    and outlines in a tenth of the steps.
    """
    for module in vae.modules():
        if isinstance(module, ResidualBlock | TemporalResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, PositionAttention):
            nn.init.zeros_(module.to_out[0].weight)  # type: ignore[arg-type]


def start_with_offsets(vae: Any) -> None:
    """Give the norms before both output layers a constant to compare with.

    Normalising narrow groups of channels over an image takes away its overall brightness. One
    channel per group therefore starts far from zero: it then dominates the group's mean and
    deviation, so that what the norm does to the others is nearly the same for every image.
    """
    carry_offsets(vae.encoder.mid_block.resnets[-1].conv2, vae.encoder.conv_norm_out)
    last = vae.decoder.up_blocks[-1].resnets[-1].spatial_res_block
    carry_offsets(last.conv2, vae.decoder.conv_norm_out)


@torch.no_grad()
def carry_offsets(layer: nn.Module, norm: nn.GroupNorm, offset: float = 4.0) -> None:
    """Shift the last channel of every group by `offset` in `layer`; `norm` takes it out again.

    Groups of one channel have nothing to compare it with; they are left as they are.
    """
    size = norm.num_channels // norm.num_groups
    if size == 1:
        return
    bias: Tensor = layer.bias  # type: ignore[assignment]
    bias[size - 1 :: size] += offset
    norm.weight.fill_(offset * math.sqrt(size - 1) / size)
    norm.bias.fill_(offset / size)
    norm.bias[size - 1 :: size] -= offset


def clip_batch(
    store: ClipStore, batch: int, *, clips: int, frames: int, rng: np.random.Generator
) -> Float[Tensor, "b f 3 h w"]:
    """Frames of `clips` clips in [-1, 1], taken in turn from the store.

    The frames follow one another; sometimes the reference is the first of them.
    """
    made = []
    for index in range(batch * clips, (batch + 1) * clips):
        start = int(rng.integers(0, store.sizes.frames - frames + 1))
        made.append(store.images[index % store.sizes.count, start : start + frames])
    pixels = torch.from_numpy(np.stack(made))
    return rearrange(pixels, "b f h w c -> b f c h w").float() / 127.5 - 1


def random_crops(
    clips: Float[Tensor, "b f 3 h w"], size: int, rng: np.random.Generator
) -> Float[Tensor, "b f 3 s s"]:
    """A square of every clip, in the same place of all its frames; tends to the middle."""
    height, width = clips.shape[-2:]
    cut = []
    for clip in clips:
        top = int(rng.triangular(0, (height - size) / 2, height - size + 1e-6))
        left = int(rng.triangular(0, (width - size) / 2, width - size + 1e-6))
        cut.append(clip[..., top : top + size, left : left + size])
    return torch.stack(cut)


def edges(images: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, across and down."""
    return images[..., :, 1:] - images[..., :, :-1], images[..., 1:, :] - images[..., :-1, :]


def reconstruction_losses(
    vae: Any,
    colours: nn.Module,
    clips: Float[Tensor, "b f 3 h w"],
    *,
    generator: torch.Generator | None = None,
) -> Losses:
    """`decoding_losses` for encoder and decoder, and two terms that shape the latents.

    `colours` reads the mean colour of every latent's square of pixels off the latents. It is
    trained along and thrown away: without it the latents learn one axis of colour
    after the other, the last very late.
    """
    images = rearrange(clips, "b f c h w -> (b f) c h w")
    mode = vae.encode(images)
    means = F.avg_pool2d(images, images.shape[-1] // mode.shape[-1])
    return {
        **_decoding(vae, mode, clips, LATENT_NOISE, generator),
        "colours": COLOUR_WEIGHT * F.l1_loss(colours(mode).float(), means),
        "scale": SCALE_WEIGHT * mode.float().square().mean(),
    }


def decoding_losses(
    vae: Any,
    clips: Float[Tensor, "b f 3 h w"],
    *,
    generator: torch.Generator | None = None,
) -> Losses:
    """Absolute error of decoded pixels and of their edges; the encoder is not trained.

    An L1 on edges keeps limbs of a few pixels' width from dissolving into the background, which a
    plain pixel error forgives.
    """
    with torch.no_grad():
        mode = vae.encode(rearrange(clips, "b f c h w -> (b f) c h w"))
    # By now latents are scaled, so that the factor times a latent has unit deviation.
    return _decoding(vae, mode, clips, LATENT_NOISE / vae.scaling_factor, generator)


def _decoding(
    vae: Any,
    mode: Tensor,
    clips: Float[Tensor, "b f 3 h w"],
    deviation: float,
    generator: torch.Generator | None,
) -> Losses:
    """The posterior is a fixed narrow one.

    Starting with the usual unit noise, a short training spends its first half on out-shouting it.
    """
    noise = torch.randn(mode.shape, generator=generator).to(mode.device)
    decoded = vae.decode(mode + deviation * noise, clips.shape[1]).float()
    images = rearrange(clips, "b f c h w -> (b f) c h w")
    across, down = edges(decoded)
    across_true, down_true = edges(images)
    return {
        "pixels": F.l1_loss(decoded, images),
        "edges": EDGE_WEIGHT * (F.l1_loss(across, across_true) + F.l1_loss(down, down_true)),
    }
