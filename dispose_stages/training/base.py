"""Stage 1: UNet and PoseNet, the base that DisPose is plugged into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext, GuidanceBatch
from dispose_stages.models.pose_net import PoseNet
from dispose_stages.models.unet import SpatioTemporalUNet
from dispose_stages.sample.reference import added_time_ids
from dispose_stages.training.autoencoder import carry_offsets
from dispose_stages.training.diffusion import NoiseLevels, Predict, denoising_loss

_POSE_GAIN = 1.6
"""Of PoseNet's convolutions: without norms, plain initialisation lets pose images fade away."""
_OUTSIDE = 0.3
"""Weight of latents beside the figure."""


@dataclass(frozen=True, slots=True)
class BaseBatch:
    """Clips as the base network is trained on; every clip has the reference as frame 0.

    Attributes:
        latents: Posterior modes, unscaled.
        context: Image embedding of the reference.
        weight: Of every latent in the loss.
    """

    latents: Float[Tensor, "b f 4 h w"]
    poses: UInt8[Tensor, "b f 3 H W"]
    context: Float[Tensor, "b d"]
    weight: Float[Tensor, "b f 1 h w"]

    def to(self, device: torch.device | str) -> Self:
        """The same elsewhere."""
        given = {
            f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None
        }
        return replace(self, **{name: value.to(device) for name, value in given.items()})


@torch.no_grad()
def initialise_base(unet: SpatioTemporalUNet, pose_net: PoseNet, scaling_factor: float) -> None:
    """Weights from which a short training gets far.

    Residual branches begin silent; the output norm is given offsets (`carry_offsets`); image
    latents, which are not scaled to unit variance, are scaled by the input convolution; PoseNet
    passes its signal on.
    """
    for name, module in unet.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in {"conv2", "proj_out"} and isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.zeros_(module.weight)
    carry_offsets(unet.up_blocks[-1].resnets[-1].spatial_res_block.conv2, unet.conv_norm_out)  # type: ignore[union-attr, index]
    half = unet.conv_in.in_channels // 2
    unet.conv_in.weight[:, half:] *= scaling_factor
    for layer in pose_net.conv_layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=_POSE_GAIN / math.sqrt(layer.weight[0].numel()))
    nn.init.normal_(
        pose_net.final_proj.weight, std=0.5 / math.sqrt(pose_net.final_proj.in_channels)
    )


def drop_conditions(batch: int, share: float, generator: torch.Generator) -> Bool[Tensor, "b"]:
    """Which clips are trained without conditions, for classifier-free guidance."""
    return torch.rand(batch, generator=generator) < share


class BaseObjective:
    """The loss of stage 1.

    Args:
        dropped: Share of clips without conditions.
    """

    def __init__(
        self,
        unet: SpatioTemporalUNet,
        pose_net: PoseNet,
        *,
        scaling_factor: float,
        levels: NoiseLevels | None = None,
        dropped: float = 0.1,
    ) -> None:
        self.unet, self.pose_net = unet, pose_net
        self.scaling_factor = scaling_factor
        self.levels = levels or NoiseLevels()
        self.dropped = dropped

    def __call__(self, batch: BaseBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of a batch; `generator` (CPU) decides noise, levels and what is dropped."""
        count, device = len(batch.latents), batch.latents.device
        shown = (~drop_conditions(count, self.dropped, generator)).to(device).float()
        predict = self.predict(batch, shown)
        sigma = self.levels.draw(count, generator).to(device)
        noise = torch.randn(batch.latents.shape, generator=generator).to(device)
        clean = batch.latents * self.scaling_factor
        return {"v": denoising_loss(predict, clean, batch.weight, sigma, noise)}

    def predict(self, batch: BaseBatch, shown: Float[Tensor, "b"]) -> Predict:
        """The networks with everything given but the noisy latents and the timestep.

        Args:
            shown: 1 where they are given, 0 where they are dropped.
        """
        pose = embed_pose_images(self.pose_net, batch.poses) * shown.view(-1, 1, 1, 1, 1)
        context = (batch.context * shown[:, None])[:, None]
        arranged = self.unet.cross_attention(
            context, GuidanceBatch.separate(len(context)), "corrected"
        )
        image = batch.latents[:, :1] * shown.view(-1, 1, 1, 1, 1)
        return prediction(self.unet, arranged, pose, image)


def prediction(
    unet: SpatioTemporalUNet,
    context: ArrangedContext,
    pose: Float[Tensor, "b f c h w"],
    image: Float[Tensor, "b 1 4 h w"],
    control: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]] = lambda *_: (),
) -> Predict:
    """The UNet with everything given but the noisy latents and the timestep.

    Args:
        pose: PoseNet's output.
        image: Latents of the reference, unscaled; zeros where dropped.
        control: The ControlNet's residuals, from latents, timestep and added time ids.
    """

    def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
        latents = torch.cat([noisy, image.expand(-1, noisy.shape[1], -1, -1, -1)], dim=2)
        ids = added_time_ids(0.0, device=latents.device).expand(len(latents), -1)
        residuals = control(latents, timestep, ids)
        time = unet.time_embed(timestep, ids)
        v: Tensor = unet(latents, time, context, pose_latents=pose, control=residuals)
        return v

    return predict


def embed_pose_images(
    pose_net: nn.Module, poses: UInt8[Tensor, "b f 3 H W"]
) -> Float[Tensor, "b f c h w"]:
    """PoseNet on all frames of a batch."""
    embedded: Tensor = pose_net(poses.flatten(0, 1).float() / 127.5 - 1)
    return embedded.reshape(*poses.shape[:2], *embedded.shape[1:])


def figure_weight(
    boxes: Float[np.ndarray, "f 4"], height: int, width: int
) -> Float[np.ndarray, "f 1 h w"]:
    """Weight of every latent: one where the figure is or was in the reference, less elsewhere."""
    rows = np.arange(height // 8)[None, :, None] * 8 + 4
    columns = np.arange(width // 8)[None, None, :] * 8 + 4
    x1, y1, x2, y2 = (boxes[:, i, None, None] for i in range(4))
    inside = (columns > x1 - 8) & (columns < x2 + 8) & (rows > y1 - 8) & (rows < y2 + 8)
    figure = inside | inside[:1]
    return np.where(figure, 1.0, _OUTSIDE)[:, None].astype(np.float32)
