"""Diffusion features that say what is where, for the small bundle's correspondence.

Features of random networks are mostly their noise (docs/quality.md). Here the encoder is set by
hand to mean colours, which needs no training, and the UNet learns to tell the colour at a keypoint
from noisy latents, through a read-out of the shape of the ControlNet's point adapter that is thrown
away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import network_image
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.models.autoencoder import LatentEncoder, build_latent_encoder
from dispose_stages.models.dift import DiftNetwork
from dispose_stages.training.autoencoder import carry_offsets
from dispose_stages.training.loop import Losses
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.small_configs import POINT_CHANNELS, SD_VAE
from dispose_stages.training.world.scene import VISIBLE

_OFFSET = 8.0
"""Of the constant beside which the encoder's last norm is nearly the same for every image."""
_GAINS = (4.0, 4.0, 4.0, 12.0)
"""Of the latents, which so have a deviation of about two: colours outshout the noise."""
_READ_OUT = 128


@torch.no_grad()
def mean_encoder() -> LatentEncoder:
    """An encoder whose latents are the mean red, green and blue of their 8 by 8 pixels.

    The fourth is by how much the right half of them is brighter than the left. All residual
    branches are silent; a channel and its negative pass the last SiLU, and their difference is the
    channel.
    """
    encoder = build_latent_encoder(SD_VAE)
    for name, parameter in encoder.named_parameters():
        if "norm" not in name:
            nn.init.zeros_(parameter)
    # Untyped, as submodules are.
    body: Any = encoder.encoder
    quantised: Any = encoder.quant_conv
    signs = torch.tensor([1.0, -1.0])
    for channel in range(8):
        colours = [channel % 4] if channel % 4 < 3 else [0, 1, 2]
        body.conv_in.weight[channel, colours, 1, 1] = signs[channel // 4] / len(colours)
    halving = [block.downsamplers[0].conv for block in body.down_blocks[:-1]]
    for layer in halving:
        layer.weight[range(8), range(8), :2, :2] = 0.25
    for channel in (3, 7):
        halving[-1].weight[channel, channel, :2, 0] *= -1
    carry_offsets(body.mid_block.resnets[-1].conv2, body.conv_norm_out, _OFFSET)
    for latent, gain in enumerate(_GAINS):
        body.conv_out.weight[latent, [latent, latent + 4], 1, 1] = signs
        quantised.weight[latent, latent] = gain / SD_VAE["scaling_factor"]
    quantised.bias[4:] = -10.0
    return encoder


def initialise_features(unet: nn.Module) -> None:
    """Plain initialisation with silent residual branches."""
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
            if name.rsplit(".", 1)[-1] in {"conv2", "proj_out"}:
                nn.init.zeros_(module.weight)
    unet.requires_grad_(requires_grad=True)


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """References with what is to be told of them.

    Attributes:
        latents: In the UNet's space.
        points: Body keypoints as detected, normalised.
        seen: Whether each was detected.
        colours: True colour where each keypoint is, in [0, 1].
        known: Whether the keypoint itself is seen there.
    """

    latents: Float[Tensor, "b 4 h w"]
    points: Float[np.ndarray, "b 18 2"]
    seen: Bool[np.ndarray, "b 18"]
    colours: Float[Tensor, "b 18 3"]
    known: Bool[Tensor, "b 18"]

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors elsewhere."""
        moved = {name: getattr(self, name).to(device) for name in ("latents", "colours", "known")}
        return replace(self, **moved)


class FeatureBatches:
    """Draws first frames of clips; the batch's number decides which."""

    def __init__(
        self, poses: PoseStore, encoder: LatentEncoder, *, size: int, scaling_factor: float
    ) -> None:
        self.poses, self.encoder, self.size = poses, encoder, size
        self.scaling_factor = scaling_factor
        self._latents: dict[int, Tensor] = {}

    def __call__(self, batch: int) -> FeatureBatch:
        """Batch number `batch`."""
        clips, poses = self.poses.clips, self.poses
        rng = np.random.default_rng((batch, 47))
        rows = rng.integers(0, clips.sizes.count, self.size)
        truth = [_true_colours(clips.images[row, 0], clips.keypoints[row, 0]) for row in rows]
        return FeatureBatch(
            torch.cat([self._encoded(int(row)) for row in rows]),
            poses.points[rows, 0, BODY_KEYPOINTS].astype(np.float64),
            poses.scores[rows, 0, BODY_KEYPOINTS] > VISIBLE_SCORE,
            torch.stack([colours for colours, _ in truth]),
            torch.stack([known for _, known in truth]),
        )

    @torch.no_grad()
    def _encoded(self, row: int) -> Float[Tensor, "1 4 h w"]:
        if row not in self._latents:
            mean, _ = self.encoder(network_image(np.array(self.poses.clips.images[row, 0])))
            self._latents[row] = mean * self.scaling_factor
        return self._latents[row]


def _true_colours(
    image: UInt8[np.ndarray, "h w 3"], keypoints: Float[np.ndarray, "133 3"]
) -> tuple[Float[Tensor, "18 3"], Bool[Tensor, "18"]]:
    """Colours where the body's keypoints are, and which of them are seen there."""
    points, shown = to_openpose(
        keypoints[None, :, :2].astype(np.float64), (keypoints[None, :, 2] == VISIBLE).astype(float)
    )
    column, row = np.floor(points[0, BODY_KEYPOINTS]).astype(int).T
    height, width = image.shape[:2]
    column, row = np.clip(column, 1, width - 2), np.clip(row, 1, height - 2)
    around = [image[row + y, column + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    colours = torch.from_numpy(np.stack(around).mean(axis=0) / 255).float()
    return colours, torch.from_numpy(shown[0, BODY_KEYPOINTS] > VISIBLE_SCORE)


class FeatureObjective:
    """Squared error of colours that are read off the features at the keypoints.

    Args:
        network: Its UNet is trained.
        timestep: How far latents are diffused.
    """

    def __init__(self, network: DiftNetwork, *, timestep: int, height: int, width: int) -> None:
        self.network, self.timestep = network, timestep
        self.height, self.width = height, width
        self.read_out = nn.Sequential(
            nn.Linear(POINT_CHANNELS, _READ_OUT), nn.SiLU(), nn.Linear(_READ_OUT, 3)
        )

    def __call__(self, batch: FeatureBatch, generator: torch.Generator) -> Losses:
        """Loss terms of a batch; `generator` (CPU) decides the noise."""
        noise = torch.randn(batch.latents.shape, generator=generator)
        noisy = self.network.noisy(batch.latents, noise, self.timestep)
        embedding = self.embeddings(self.network.features(noisy, self.timestep), batch)
        known = batch.known & torch.from_numpy(batch.seen)
        read = self.read_out(embedding).sigmoid()
        return {
            "colours": F.mse_loss(read[known], batch.colours[known]),
            "scale": 1e-3 * (embedding[known].square().mean() - 1).square(),
        }

    def embeddings(
        self, features: Float[Tensor, "b d h w"], batch: FeatureBatch
    ) -> Float[Tensor, "b 18 d"]:
        """What the pipeline reads off the features of a reference."""
        read = [
            keypoint_embedding(image, points, seen, self.height, self.width)
            for image, points, seen in zip(features, batch.points, batch.seen, strict=True)
        ]
        return torch.stack(read)
