"""The image autoencoder of Stable Diffusion and the temporal decoder of Stable Video Diffusion.

Attribute names are those of the published state dicts (diffusers' `AutoencoderKL` and
`AutoencoderKLTemporalDecoder`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.errors import WeightsError
from dispose_stages.models.attention import attend
from dispose_stages.models.layers import Downsample, Upsample
from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.residual import (
    ResidualBlock,
    SpatioTemporalResidualBlock,
    over_positions,
    over_time,
)
from dispose_stages.models.temporal_convolution import TemporalConvolution


class PositionAttention(nn.Module):
    """Attention of one head over all positions, with a residual."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.group_norm = GroupNorm(channels, groups=groups)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, hidden: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Attend within each image."""
        rows = self.group_norm(hidden).flatten(2).transpose(1, 2)
        query, key, value = (
            projection(rows)[:, None] for projection in (self.to_q, self.to_k, self.to_v)
        )
        attended = self.to_out[0](attend(query, key, value)[:, 0])
        output: Tensor = hidden + attended.transpose(1, 2).reshape(hidden.shape)
        return output


class _DownBlock(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, layers: int, groups: int, *, downsample: bool
    ) -> None:
        super().__init__()
        inputs = [in_channels] + [channels] * (layers - 1)
        self.resnets = nn.ModuleList(ResidualBlock(i, channels, groups=groups) for i in inputs)
        if downsample:
            self.downsamplers = nn.ModuleList([Downsample(channels, padding=0)])

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.resnets:
            hidden = block(hidden)
        return self.downsamplers[0](hidden) if hasattr(self, "downsamplers") else hidden


class _MidBlock(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([PositionAttention(channels, groups)])
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, channels, groups=groups) for _ in range(2)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](hidden)))
        return output


class Encoder(nn.Module):
    """Image to the parameters of the posterior.

    Args:
        channels: Per block, finest first.
        layers: Residual layers per block.
        groups: Of every norm.
    """

    def __init__(
        self, channels: Sequence[int], layers: int, latent_channels: int, groups: int = 32
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        widths = [channels[0], *channels]
        self.down_blocks = nn.ModuleList(
            _DownBlock(before, own, layers, groups, downsample=index < len(channels) - 1)
            for index, (before, own) in enumerate(pairwise(widths))
        )
        self.mid_block = _MidBlock(channels[-1], groups)
        self.conv_norm_out = GroupNorm(channels[-1], groups=groups, silu=True)
        self.conv_out = nn.Conv2d(channels[-1], 2 * latent_channels, 3, padding=1)

    def forward(self, image: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n c2 h w"]:
        """Means, then log variances, before ``quant_conv``."""
        hidden = self.conv_in(image)
        for block in self.down_blocks:
            hidden = block(hidden)
        output: Tensor = self.conv_out(self.conv_norm_out(self.mid_block(hidden)))
        return output


def _temporal(in_channels: int, out_channels: int) -> SpatioTemporalResidualBlock:
    return SpatioTemporalResidualBlock(
        in_channels, out_channels, None, eps=1e-6, temporal_eps=1e-5, learned_share=True
    )


class _TemporalMidBlock(nn.Module):
    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([PositionAttention(channels)])
        self.resnets = nn.ModuleList(_temporal(channels, channels) for _ in range(layers))

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        hidden = self.resnets[0](hidden, None, frames)
        # One attention, whatever the number of layers: the published decoder has two of these.
        for block, attention in zip(self.resnets[1:], self.attentions, strict=False):
            hidden = block(attention(hidden), None, frames)
        return hidden


class _TemporalUpBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, layers: int, *, upsample: bool) -> None:
        super().__init__()
        inputs = [in_channels] + [channels] * (layers - 1)
        self.resnets = nn.ModuleList(_temporal(width, channels) for width in inputs)
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample(channels)])

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        for block in self.resnets:
            hidden = block(hidden, None, frames)
        return self.upsamplers[0](hidden) if hasattr(self, "upsamplers") else hidden


class TemporalDecoder(nn.Module):
    """Latents of a clip to its frames; arguments as `Encoder`."""

    def __init__(self, channels: Sequence[int], layers: int, latent_channels: int) -> None:
        super().__init__()
        coarse_first = list(reversed(channels))
        self.conv_in = nn.Conv2d(latent_channels, coarse_first[0], 3, padding=1)
        self.mid_block = _TemporalMidBlock(coarse_first[0], layers)
        widths = [coarse_first[0], *coarse_first]
        self.up_blocks = nn.ModuleList(
            _TemporalUpBlock(before, own, layers + 1, upsample=index < len(channels) - 1)
            for index, (before, own) in enumerate(pairwise(widths))
        )
        self.conv_norm_out = GroupNorm(channels[0], silu=True)
        self.conv_out = nn.Conv2d(channels[0], 3, 3, padding=1)
        self.time_conv_out = TemporalConvolution(3)

    def forward(
        self, latents: Float[Tensor, "bf c h w"], frames: int
    ) -> Float[Tensor, "bf 3 height width"]:
        """Frames of one or more clips of `frames` frames."""
        hidden = self.mid_block(self.conv_in(latents), frames)
        for block in self.up_blocks:
            hidden = block(hidden, frames)
        image = self.conv_out(self.conv_norm_out(hidden))
        return over_positions(self.time_conv_out(over_time(image, frames)), image.shape[-2:])


class TemporalAutoencoder(nn.Module):
    """Encodes images, decodes clips.

    Args:
        channels: Per block, finest first.
        layers: Residual layers per block of the encoder; the decoder has one more.
        scaling_factor: Of latents in the diffusion networks' space.

    Attributes:
        scaling_factor: Of latents in the diffusion networks' space.
    """

    def __init__(
        self,
        channels: Sequence[int],
        layers: int,
        latent_channels: int = 4,
        scaling_factor: float = 0.18215,
    ) -> None:
        super().__init__()
        self.latent_channels, self.scaling_factor = latent_channels, scaling_factor
        self.encoder = Encoder(channels, layers, latent_channels)
        self.decoder = TemporalDecoder(channels, layers, latent_channels)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)

    def encode(self, image: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n c h w"]:
        """Mode of the posterior, unscaled. Images are in [-1, 1]."""
        mode: Tensor = self.quant_conv(self.encoder(image)).chunk(2, dim=1)[0]
        return mode

    def decode(
        self, latents: Float[Tensor, "bf c h w"], frames: int
    ) -> Float[Tensor, "bf 3 height width"]:
        """Frames of clips of `frames` frames, about -1 to 1, from unscaled latents."""
        decoded: Tensor = self.decoder(latents, frames)
        return decoded


class LatentEncoder(nn.Module):
    """Stable Diffusion's encoder; the decoder is never allocated."""

    def __init__(
        self, channels: Sequence[int], layers: int, latent_channels: int, groups: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, layers, latent_channels, groups)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.eval()

    def forward(
        self, image: Float[Tensor, "b 3 height width"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Mean and standard deviation of the posterior, unscaled. The image is in [-1, 1]."""
        mean, log_variance = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30.0, 20.0)).exp()


def build_autoencoder(config: Mapping[str, Any]) -> TemporalAutoencoder:
    """The network of a diffusers ``vae/config.json`` of Stable Video Diffusion, random weights.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    sizes = _sizes(config)
    return TemporalAutoencoder(*sizes, float(config.get("scaling_factor", 0.18215)))


def build_latent_encoder(config: Mapping[str, Any]) -> LatentEncoder:
    """The encoder of a diffusers ``vae/config.json`` of Stable Diffusion, random weights.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    return LatentEncoder(*_sizes(config), int(config.get("norm_num_groups", 32)))


def _sizes(config: Mapping[str, Any]) -> tuple[list[int], int, int]:
    kinds = config.get("down_block_types")
    if not isinstance(kinds, list | tuple) or set(kinds) != {"DownEncoderBlock2D"}:
        raise WeightsError(f"not the configuration of a known autoencoder: block types {kinds}")
    try:
        channels = [int(width) for width in config["block_out_channels"]]
        return channels, int(config.get("layers_per_block", 1)), int(config["latent_channels"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"not the configuration of an autoencoder: {error!r}") from error
