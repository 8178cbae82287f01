"""Sizes of the spatio-temporal networks, from Stable Video Diffusion's ``unet/config.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispose_stages.errors import WeightsError

_PLAIN_BLOCKS = {"DownBlockSpatioTemporal", "UpBlockSpatioTemporal"}
_ATTENTION_BLOCKS = {"CrossAttnDownBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"}


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """Sizes of the UNet; the ControlNet has those of its encoder.

    Attributes:
        in_channels: Noisy latents and image latents, 4 each.
        out_channels: Latent channels of the prediction.
        block_channels: Width per down block; up blocks mirror them.
        down_attention: Which down blocks have attention.
        up_attention: Which up blocks have attention, in order of execution.
        layers: Residual layers per down block; up blocks have one more.
        heads: Attention heads per down block.
        context_channels: Width of the image embedding per down block.
        depth: Transformer layers per down block.
        time_ids_channels: Width of the sines of each added time id.
        time_ids_width: Width of all added time ids together.
    """

    in_channels: int
    out_channels: int
    block_channels: tuple[int, ...]
    down_attention: tuple[bool, ...]
    up_attention: tuple[bool, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    context_channels: tuple[int, ...]
    depth: tuple[int, ...]
    time_ids_channels: int
    time_ids_width: int

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> UNetConfig:
        """Read a diffusers configuration; entries without influence are ignored.

        Raises:
            WeightsError: An entry is missing, or the networks it describes are of another kind.
        """
        try:
            channels = tuple(int(width) for width in config["block_out_channels"])
            count = len(channels)
            return cls(
                in_channels=int(config["in_channels"]),
                out_channels=int(config["out_channels"]),
                block_channels=channels,
                down_attention=_attention(config["down_block_types"], count),
                up_attention=_attention(config["up_block_types"], count),
                layers=_per_block(config["layers_per_block"], count),
                heads=_per_block(config["num_attention_heads"], count),
                context_channels=_per_block(config["cross_attention_dim"], count),
                depth=_per_block(config.get("transformer_layers_per_block", 1), count),
                time_ids_channels=int(config["addition_time_embed_dim"]),
                time_ids_width=int(config["projection_class_embeddings_input_dim"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"not the configuration of a spatio-temporal UNet: {error!r}"
            ) from error

    @property
    def time_channels(self) -> int:
        """Width of the time embedding."""
        return 4 * self.block_channels[0]


def _per_block(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, int) else tuple(int(item) for item in value)
    if len(values) != count:
        raise ValueError(f"{values} does not have one entry for each of the {count} blocks")
    return values


def _attention(types: Sequence[str], count: int) -> tuple[bool, ...]:
    unknown = set(types) - _PLAIN_BLOCKS - _ATTENTION_BLOCKS
    if unknown or len(types) != count:
        raise ValueError(f"unsupported block types {list(types)}")
    return tuple(kind in _ATTENTION_BLOCKS for kind in types)
