"""Stage 2: the hybrid ControlNet, everything else frozen (DisPose, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.control_net import ControlNet, MotionEmbedding
from dispose_stages.models.point_adapter import PointAdapter
from dispose_stages.models.pose_net import PoseNet
from dispose_stages.models.unet import SpatioTemporalUNet
from dispose_stages.training.base import (
    BaseBatch,
    BaseObjective,
    drop_conditions,
    embed_pose_images,
    prediction,
)
from dispose_stages.training.diffusion import NoiseLevels, Predict, denoising_loss
from dispose_stages.training.left_out import LeftOut
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
        stacked: What the motion embedding's stacks make of both fields, where that is kept
            because the stacks are not trained.
    """

    dense: Float[Tensor, "b f_minus_1 2 H W"]
    trajectory: Float[Tensor, "b f_minus_1 2 H W"]
    embedding: Float[Tensor, "b k d"]
    points: Float[Tensor, "b f k 2"]
    visible: Bool[Tensor, "b f k"]
    stacked: Float[Tensor, "b f_minus_1 c h w"] | None = None


@torch.no_grad()
def initialise_control_net(control_net: ControlNet, unet: SpatioTemporalUNet) -> None:
    """Start as a copy of the UNet's encoder that adds nothing.

    The projections to the UNet begin at zero, so that training starts from the base's own result.
    """
    source = unet.state_dict()
    own = control_net.state_dict()
    for key in (
        *copied_from_unet(control_net, unet),
        *(k for k in own if k.startswith("add_embedding.")),
    ):
        own[key].copy_(source[key])
    projections = [*control_net.controlnet_down_blocks, control_net.controlnet_mid_block]
    for projection in projections:
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)


@torch.no_grad()
def wake_motion_embedding(
    embedding: MotionEmbedding,
    dense: Float[Tensor, "n 2 H W"],
    trajectory: Float[Tensor, "n 2 H W"],
    *,
    loudness: float = 0.5,
) -> None:
    """Scale an untrained motion embedding so that motion is heard from the first step on.

    With plain initialisation, what depends on the fields is a thousandth of the features that it
    is added to, the trajectory's part (whose values are far below a pixel) a millionth: no training
    of bearable length finds it. Layer after layer, weights are scaled until what these fields
    change has unit root mean square; nothing but the scale changes.

    Args:
        loudness: Root mean square of what the fields change in the output.
    """
    changes = []
    for branch, field in (("flow", dense), ("traj", trajectory)):
        layers = [getattr(embedding, f"conv_in_{branch}"), *getattr(embedding, f"blocks_{branch}")]
        moving, still = field, torch.zeros_like(field[:1])
        for layer in layers:
            _scale_change(layer, moving, still, 1.0)
            moving, still = F.silu(layer(moving)), F.silu(layer(still))
        last = getattr(embedding, f"conv_out_{branch}")
        _scale_change(last, moving, still, 1.0)
        changes.append((last(moving), last(still)))
    moving, still = (sum(parts) for parts in zip(*changes, strict=True))
    _scale_change(embedding.conv_final, moving, still, loudness)


def _scale_change(layer: nn.Conv2d, moving: Tensor, still: Tensor, wanted: float) -> None:
    change = (layer(moving) - layer(still)).square().mean().sqrt()
    layer.weight *= wanted / change.clamp(min=1e-12)


@torch.no_grad()
def wake_point_adapter(
    adapter: PointAdapter, embedding: Float[Tensor, "n k d"], *, loudness: float = 20.0
) -> None:
    """Scale an untrained point adapter so that what its features differ in is heard.

    It is added to hidden states of root mean square four or so; with plain initialisation features
    of other keypoints change a fiftieth of that, which several hundred steps do not find.

    Args:
        embedding: Features of some references, zero where a keypoint is invisible.
        loudness: Root mean square of what differs between keypoints, on every level.
    """
    features = embedding.flatten(0, 1)
    features = features[features.abs().sum(dim=1) > 0]
    for level in adapter.model_list:
        output = level(features)
        change = (output - output.mean(dim=0)).square().mean().sqrt()
        level.mlp[-1].weight *= loudness / change  # type: ignore[union-attr, index]


class ControlObjective:
    """The loss of stage 2: the base's denoising loss, with the ControlNet's residuals added.

    Args:
        control_net: Trained.
        unet: Frozen.
        pose_net: Frozen.
        left_out: How often something is missing.
    """

    def __init__(
        self,
        control_net: ControlNet,
        unet: SpatioTemporalUNet,
        pose_net: PoseNet,
        *,
        scaling_factor: float,
        levels: NoiseLevels | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self.control_net, self.unet, self.pose_net = control_net, unet, pose_net
        self.scaling_factor = scaling_factor
        self.levels = levels or NoiseLevels()
        self.left_out = left_out or LeftOut()

    def __call__(self, batch: ControlBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of a batch; `generator` (CPU) decides noise, levels and what is left out."""
        count, device = len(batch.latents), batch.latents.device
        shown = (~drop_conditions(count, self.left_out.conditions, generator)).to(device).float()
        sigma = self.levels.draw(count, generator).to(device)
        noise = torch.randn(batch.latents.shape, generator=generator).to(device)
        given = self.left_out.draw(generator)
        if given is None:
            plain = BaseObjective(self.unet, self.pose_net, scaling_factor=self.scaling_factor)
            predict = plain.predict(batch, shown)
            # On a CPU, PyTorch's norm in bfloat16 crashes where its weights want a gradient and
            # its input does not.
            noise.requires_grad = True
        else:
            predict = self.predict(batch, shown, **given)
        clean = batch.latents * self.scaling_factor
        return {"v": denoising_loss(predict, clean, batch.weight, sigma, noise)}

    def predict(
        self,
        batch: ControlBatch,
        shown: Float[Tensor, "b"],
        *,
        motion: bool,
        points: bool,
        drawn: bool = True,
    ) -> Predict:
        """The networks with everything given but the noisy latents and the timestep.

        Args:
            shown: 1 where the base's conditions are given, 0 where they are dropped.
            motion: Whether the ControlNet gets the motion fields.
            points: Whether it gets the correspondence features.
            drawn: Whether the base gets the pose images of the clips that are shown.
        """
        with torch.no_grad():
            pose = embed_pose_images(self.pose_net, batch.poses) * shown.view(-1, 1, 1, 1, 1)
            pose = pose if drawn else torch.zeros_like(pose)
        context = (batch.context * shown[:, None])[:, None]
        separate = GuidanceBatch.separate(len(context))
        control_context = self.control_net.cross_attention(context, separate, "corrected")
        embedded = self._motion(batch, leave_out=not motion)
        levels = self._points(batch) if points else None

        def control(latents: Tensor, timestep: Tensor, ids: Tensor) -> Sequence[Tensor]:
            time = self.control_net.time_embed(timestep, ids)
            residuals: Sequence[Tensor] = self.control_net(
                latents, time, control_context, motion=embedded, point_levels=levels
            )
            return residuals

        return prediction(
            self.unet,
            self.unet.cross_attention(context, separate, "corrected"),
            pose,
            batch.latents[:, :1] * shown.view(-1, 1, 1, 1, 1),
            control,
        )

    def _motion(self, batch: ControlBatch, *, leave_out: bool) -> Tensor:
        count, frames = batch.latents.shape[:2]
        if leave_out:
            channels = self.control_net.conv_in.out_channels
            return batch.latents.new_zeros((count, frames, channels, *batch.latents.shape[-2:]))
        embedding = self.control_net.controlnet_cond_embedding
        moving = batch.stacked
        if moving is None:
            fields = batch.dense.flatten(0, 1), batch.trajectory.flatten(0, 1)
            sums: Tensor = embedding.stacked(*fields)
            moving = sums.reshape(count, frames - 1, *sums.shape[1:])
        nothing = batch.dense.new_zeros((1, *batch.dense.shape[2:]))
        still = embedding.stacked(nothing, nothing)[None].expand(count, -1, -1, -1, -1)
        stacked = torch.cat([still, moving.to(still)], dim=1).flatten(0, 1)
        embedded: Tensor = embedding.conv_final(stacked)
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
