"""The networks as the original runs them: diffusers' blocks, every condition anew at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from dispose_stages.models.control_net import MotionEmbedding


class Original(nn.Module):
    """UNet and ControlNet of plain diffusers blocks.

    Args:
        config: Of the UNet, as in ``unet/config.json``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.unet = UNetSpatioTemporalConditionModel(**config)
        self.control = UNetSpatioTemporalConditionModel(**config)
        del self.control.up_blocks, self.control.conv_norm_out, self.control.conv_out
        channels = config["block_out_channels"]
        layers = config["layers_per_block"]
        widths = [channels[0]]
        for block, width in enumerate(channels):
            widths += [width] * (layers + (block < len(channels) - 1))
        self.motion = MotionEmbedding(channels[0])
        self.projections = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.project_mid = nn.Conv2d(channels[-1], channels[-1], 1)

    def take_weights(self, unet: nn.Module, control_net: nn.Module) -> None:
        """Share those of the package's networks: names are the same, but for the projections."""
        self.unet.load_state_dict(unet.state_dict(), assign=True)
        state = control_net.state_dict()
        kept = {key: state[key] for key in self.control.state_dict()}
        self.control.load_state_dict(kept, assign=True)
        parts = {
            "controlnet_cond_embedding.": self.motion,
            "controlnet_down_blocks.": self.projections,
            "controlnet_mid_block.": self.project_mid,
        }
        for prefix, part in parts.items():
            kept = {key: state[prefix + key] for key in part.state_dict()}
            part.load_state_dict(kept, assign=True)

    def forward(self, inputs: Mapping[str, Any]) -> Tensor:
        """One tile with both halves; `inputs` as `dispose_stages` prepares them per clip."""
        control, mid = self._control(inputs)
        skips: list[Tensor] = []
        sample, conditions = self._begin(self.unet, inputs)
        sample = sample + inputs["pose"]
        skips = [sample]
        count = 1
        for block in self.unet.down_blocks:
            sample, more = _down(block, sample, conditions)
            skips += more
            count += len(more)
            # Q1: after every block, to all skips collected so far.
            skips = [skip + extra for skip, extra in zip(skips, control[:count], strict=True)]
        sample = self.unet.mid_block(sample, **conditions) + mid
        for block in self.unet.up_blocks:
            used = len(block.resnets)
            extra = dict(conditions)
            if not getattr(block, "has_cross_attention", False):
                extra.pop("encoder_hidden_states")
            sample = block(sample, res_hidden_states_tuple=tuple(skips[-used:]), **extra)
            skips = skips[:-used]
        output: Tensor = self.unet.conv_out(self.unet.conv_act(self.unet.conv_norm_out(sample)))
        return output

    def _control(self, inputs: Mapping[str, Any]) -> tuple[list[Tensor], Tensor]:
        sample, conditions = self._begin(self.control, inputs)
        # For both guidance halves, at every step.
        fields = (inputs[name].repeat(2, 1, 1, 1) for name in ("dense", "trajectory"))
        sample = sample + self.motion(*fields)
        skips = [sample]
        for block, points in zip(self.control.down_blocks, inputs["points"], strict=True):
            sample, more = _down(block, sample, conditions)
            skips += more
            sample = sample + points
        sample = self.control.mid_block(sample, **conditions)
        down = [project(skip) for project, skip in zip(self.projections, skips, strict=True)]
        # The original multiplies by its conditioning scale whatever that is.
        return [skip * 1.0 for skip in down], self.project_mid(sample) * 1.0

    def _begin(
        self, net: UNetSpatioTemporalConditionModel, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        latents = inputs["latents"]
        batch, frames = latents.shape[:2]
        time = net.time_proj(inputs["timestep"].expand(batch)).to(latents.dtype)
        ids = net.add_time_proj(inputs["ids"].flatten()).reshape(batch, -1).to(latents.dtype)
        embedding = net.time_embedding(time) + net.add_embedding(ids)
        size = batch * frames
        conditions = {
            "temb": embedding.repeat_interleave(frames, dim=0, output_size=size),
            "encoder_hidden_states": inputs["context"].repeat_interleave(
                frames, dim=0, output_size=size
            ),
            "image_only_indicator": torch.zeros(
                batch, frames, dtype=latents.dtype, device=latents.device
            ),
        }
        return net.conv_in(latents.flatten(0, 1)), conditions


def _down(
    block: nn.Module, sample: Tensor, conditions: Mapping[str, Any]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    extra = dict(conditions)
    if not getattr(block, "has_cross_attention", False):
        extra.pop("encoder_hidden_states")
    output: tuple[Tensor, tuple[Tensor, ...]] = block(sample, **extra)
    return output
