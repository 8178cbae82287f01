"""Residual layers over positions and over time; attribute names are diffusers'."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.temporal_convolution import TemporalConvolution


class ResidualBlock(nn.Module):
    """Two normalised convolutions over positions beside a shortcut.

    Args:
        out_channels: Of the output; where they differ the shortcut is a 1x1 convolution.
        time_channels: Width of the time embedding; None for networks without one.
        groups: Of both norms.
        eps: Of both norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int | None = None,
        *,
        groups: int = 32,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels, groups=groups, eps=eps, silu=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if time_channels is not None:
            self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = GroupNorm(out_channels, groups=groups, eps=eps, silu=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(
        self, hidden: Float[Tensor, "n c h w"], time: Float[Tensor, "n d"] | None = None
    ) -> Float[Tensor, "n c_out h w"]:
        """`time` has gone through SiLU already: all blocks of a network share it."""
        shift = None if time is None else self.time_emb_proj(time)
        branch = self.conv2(self.norm2(self.conv1(self.norm1(hidden)), shift))
        shortcut = self.conv_shortcut(hidden) if hasattr(self, "conv_shortcut") else hidden
        output: Tensor = shortcut + branch
        return output


class TemporalResidualBlock(nn.Module):
    """The same over frames, with kernel 3 and as many channels out as in; the branch alone."""

    def __init__(self, channels: int, time_channels: int | None, *, eps: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(channels, eps=eps, silu=True)
        self.conv1 = TemporalConvolution(channels)
        if time_channels is not None:
            self.time_emb_proj = nn.Linear(time_channels, channels)
        self.norm2 = GroupNorm(channels, eps=eps, silu=True)
        self.conv2 = TemporalConvolution(channels)

    def forward(
        self, hidden: Float[Tensor, "b c f p"], time: Float[Tensor, "b d"] | None
    ) -> Float[Tensor, "b c f p"]:
        """What is to be added to `hidden`."""
        shift = None if time is None else self.time_emb_proj(time)
        branch: Tensor = self.conv2(self.norm2(self.conv1(self.norm1(hidden)), shift))
        return branch


class MixFactor(nn.Module):
    """A learned factor between a spatial and a temporal result, as a logit."""

    def __init__(self, logit: float = 0.5) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.full((1,), logit))

    def forward(self, image_only: Bool[Tensor, "b f"] | None) -> Float[Tensor, "..."]:
        """Share of `mix_factor`'s side, 1 for frames that are images: one number, or ``(b f)``."""
        share = torch.sigmoid(self.mix_factor)
        if image_only is None:
            return share
        return torch.where(image_only, torch.ones_like(share), share)


class SpatioTemporalResidualBlock(nn.Module):
    """A residual layer over positions, then a share of one over time.

    The temporal layer's result is its input plus a branch, so mixing it with its input is adding
    a share of the branch.

    Args:
        time_channels: Width of the time embedding; None for networks without one.
        learned_share: Whether the factor is the share of time (the VAE's) instead of space.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int | None,
        *,
        eps: float,
        temporal_eps: float | None = None,
        learned_share: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_res_block = ResidualBlock(in_channels, out_channels, time_channels, eps=eps)
        self.temporal_res_block = TemporalResidualBlock(
            out_channels, time_channels, eps=temporal_eps or eps
        )
        self.time_mixer = MixFactor(0.0 if learned_share else 0.5)
        self._learned_share = learned_share

    def forward(
        self,
        hidden: Float[Tensor, "bf c h w"],
        time: Float[Tensor, "b d"] | None,
        frames: int,
        image_only: Bool[Tensor, "b f"] | None = None,
    ) -> Float[Tensor, "bf c_out h w"]:
        """Frames of all batch elements.

        Args:
            hidden: Frames of the first element, then of the next.
            time: Time embedding after SiLU, per batch element.
            frames: Per batch element.
            image_only: Where true, the temporal layer is bypassed.
        """
        each = None if time is None else time.repeat_interleave(frames, dim=0)
        spatial = self.spatial_res_block(hidden, each)
        clip = over_time(spatial, frames)
        share = self.time_mixer(image_only)
        if not self._learned_share:
            share = 1.0 - share
        if image_only is not None:
            share = share[:, None, :, None]
        branch = self.temporal_res_block(clip, time)
        mixed = torch.addcmul(clip, branch, share.to(branch.dtype))
        return over_positions(mixed, spatial.shape[-2:])


def over_time(hidden: Float[Tensor, "bf c h w"], frames: int) -> Float[Tensor, "b c f p"]:
    """Frames of a clip as rows of a plane; a view where channels come last in memory."""
    return hidden.reshape(-1, frames, *hidden.shape[1:]).transpose(1, 2).flatten(3)


def over_positions(
    clip: Float[Tensor, "b c f p"], size: tuple[int, ...]
) -> Float[Tensor, "bf c h w"]:
    """Undo `over_time`; `size` is height and width."""
    frames = clip.transpose(1, 2).flatten(0, 1)
    return frames.reshape(*frames.shape[:2], *size)
