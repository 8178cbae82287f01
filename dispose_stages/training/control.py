"""Stage 2: the hybrid ControlNet, everything else frozen (DisPose, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.control_net import ControlNet, ControlResiduals
from dispose_stages.models.unet import SpatioTemporalUNet
from dispose_stages.training.base import BaseBatch, drop_conditions, embed_pose_images, prediction
from dispose_stages.training.diffusion import NoiseLevels, denoising_loss
from dispose_stages.weights.loading.diffusion import copied_from_unet


@dataclass(frozen=True, slots=True)
class ControlBatch(BaseBatch):
    """What the ControlNet reads beside the frozen base.

    Attributes:
        dense: Dense motion field of frames 1.., pixels.
        trajectory: Trajectory field of the same frames, pixels.
        embedding: Correspondence feature per keypoint.
        points: Body keypoints, normalised, float64.
        visible: Whether each keypoint counts.
    """

    dense: Float[Tensor, "b f_minus_1 2 H W"]
    trajectory: Float[Tensor, "b f_minus_1 2 H W"]
    embedding: Float[Tensor, "b k d"]
    points: Float[Tensor, "b f k 2"]
    visible: Bool[Tensor, "b f k"]


@torch.no_grad()
def initialise_control_net(control_net: ControlNet, unet: SpatioTemporalUNet) -> None:
    """Start as a copy of the UNet's encoder that adds nothing.

    The projections to the UNet begin at zero, as does the last layer of the motion embedding, so
    that training starts from the base's own result.
    """
    source = unet.state_dict()
    own = control_net.state_dict()
    for key in (*copied_from_unet(control_net, unet), *_time_ids(own)):
        own[key].copy_(source[key])
    projections = [*control_net.controlnet_down_blocks, control_net.controlnet_mid_block]
    for projection in projections:
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)


def _time_ids(state: dict[str, Tensor]) -> list[str]:
    return [key for key in state if key.startswith("add_embedding.")]


class ControlObjective:
    """The loss of stage 2: the base's denoising loss, with the ControlNet's residuals added.

    Args:
        control_net: Trained.
        unet: Frozen.
        pose_net: Frozen.
        scaling_factor: Of the VAE.
        levels: Noise levels.
        dropped: Share of clips for which the base's conditions are dropped; the ControlNet's own
            never are (as the sampler uses both halves).
        guidance_dropped: Share of batches in which motion, and of those in which correspondence
            guidance is left out, so that each serves without the other.
    """

    def __init__(
        self,
        control_net: ControlNet,
        unet: SpatioTemporalUNet,
        pose_net: nn.Module,
        *,
        scaling_factor: float,
        levels: NoiseLevels | None = None,
        dropped: float = 0.1,
        guidance_dropped: float = 0.1,
    ) -> None:
        self.control_net, self.unet, self.pose_net = control_net, unet, pose_net
        self.scaling_factor = scaling_factor
        self.levels = levels or NoiseLevels()
        self.dropped, self.guidance_dropped = dropped, guidance_dropped

    def __call__(self, batch: ControlBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of a batch; `generator` (CPU) decides noise, levels and what is dropped."""
        count, device = len(batch.latents), batch.latents.device
        shown = (~drop_conditions(count, self.dropped, generator)).to(device).float()
        sigma = self.levels.draw(count, generator).to(device)
        noise = torch.randn(batch.latents.shape, generator=generator).to(device)
        without = torch.rand(2, generator=generator) < self.guidance_dropped
        with torch.no_grad():
            pose = embed_pose_images(self.pose_net, batch.poses) * shown.view(-1, 1, 1, 1, 1)
        context = (batch.context * shown[:, None])[:, None]
        separate = GuidanceBatch.separate(count)
        control_context = self.control_net.cross_attention(context, separate, "corrected")
        motion = self._motion(batch, leave_out=bool(without[0]))
        levels = None if without[1] else self._points(batch)

        def control(latents: Tensor, timestep: Tensor, ids: Tensor) -> ControlResiduals:
            time = self.control_net.time_embed(timestep, ids)
            residuals: ControlResiduals = self.control_net(
                latents, time, control_context, motion=motion, point_levels=levels
            )
            return residuals

        predict = prediction(
            self.unet,
            self.unet.cross_attention(context, separate, "corrected"),
            pose,
            batch.latents[:, :1] * shown.view(-1, 1, 1, 1, 1),
            control,
        )
        clean = batch.latents * self.scaling_factor
        return {"v": denoising_loss(predict, clean, batch.weight, sigma, noise)}

    def _motion(self, batch: ControlBatch, *, leave_out: bool) -> Tensor:
        count, frames = batch.latents.shape[:2]
        if leave_out:
            channels = self.control_net.conv_in.out_channels
            return batch.latents.new_zeros((count, frames, channels, *batch.latents.shape[-2:]))
        still = batch.dense.new_zeros((count, 1, *batch.dense.shape[2:]))
        embedded: Tensor = self.control_net.controlnet_cond_embedding(
            torch.cat([still, batch.dense], dim=1).flatten(0, 1),
            torch.cat([still, batch.trajectory], dim=1).flatten(0, 1),
        )
        return embedded.reshape(count, frames, *embedded.shape[1:])

    def _points(self, batch: ControlBatch) -> tuple[Tensor, ...]:
        height, width = batch.dense.shape[-2:]
        clips = [
            self.control_net.embed_points(embedding, points, visible, height=height, width=width)
            for embedding, points, visible in zip(
                batch.embedding, batch.points, batch.visible, strict=True
            )
        ]
        return tuple(torch.stack(level) for level in zip(*clips, strict=True))
