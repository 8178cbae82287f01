"""The spatio-temporal transformer of Stable Video Diffusion, cross-attention as constants.

Attribute names are those of the published state dicts (``transformer_blocks``, ``attn1``, ...).
``attn2.to_q``, ``attn2.to_k`` and ``norm2`` are part of the checkpoints but have no influence on
the result: see `dispose_stages.models.context`.

Axes: ``b`` batch, ``f`` frames, ``p`` positions (``h * w``), ``c`` channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from dispose_stages.models import fused
from dispose_stages.models.attention import attend
from dispose_stages.models.context import LayerConstants, TransformerConstants, temporal_rows
from dispose_stages.models.layers import FeedForward, TimestepEmbedding, add_linear, sinusoids
from dispose_stages.models.normalization import GroupNorm
from dispose_stages.models.residual import MixFactor


class SelfAttention(nn.Module):
    """Multi-head self-attention within each frame, or over the frames at each position."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def pack(self) -> None:
        """Put the three projections into one, which reads its input once; for inference."""
        parts = [layer.weight.data for layer in (self.to_q, self.to_k, self.to_v)]
        del self.to_q, self.to_k, self.to_v
        width, channels = 3 * len(parts[0]), parts[0].shape[1]
        self.to_qkv = nn.Linear(channels, width, bias=False, device="meta")
        self.to_qkv.weight = nn.Parameter(torch.cat(parts), requires_grad=False)

    def forward(
        self, hidden: Float[Tensor, "bf p c"], residual: Float[Tensor, "bf p c"]
    ) -> Float[Tensor, "bf p c"]:
        """Attend over the positions of each frame; added to `residual`."""
        query, key, value = (
            part.reshape(*hidden.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self._projected(hidden)
        )
        attended = attend(query, key, value)
        return add_linear(residual, self.to_out[0], attended.transpose(1, 2).flatten(2))

    def _projected(self, hidden: Float[Tensor, "*n c"]) -> Sequence[Float[Tensor, "*n c"]]:
        """Query, key and value."""
        if hasattr(self, "to_qkv"):
            parts: tuple[Tensor, ...] = self.to_qkv(hidden).chunk(3, dim=-1)
            return parts
        return [projection(hidden) for projection in (self.to_q, self.to_k, self.to_v)]

    def over_time(
        self, hidden: Float[Tensor, "b f p c"], residual: Float[Tensor, "b f p c"]
    ) -> Float[Tensor, "b f p c"]:
        """Attend over the frames of each position; added to `residual`."""
        if fused.applies(hidden) and hasattr(self, "to_qkv"):
            attended = fused.attention_over_time(self.to_qkv(hidden), self.heads)
        else:
            # One row per position of all batch elements: (b p) heads f d.
            rows = (
                x.reshape(*x.shape[:3], self.heads, -1).permute(0, 2, 3, 1, 4).flatten(0, 1)
                for x in self._projected(hidden)
            )
            attended = attend(*rows)
            attended = attended.reshape(len(hidden), -1, *attended.shape[1:])
            attended = attended.permute(0, 3, 1, 2, 4).flatten(3)
        return add_linear(residual, self.to_out[0], attended)


def pack_projections(network: nn.Module) -> None:
    """Pack those of every self-attention; the state dict loses its published names."""
    for module in list(network.modules()):
        if isinstance(module, SelfAttention):
            module.pack()


class SingleTokenCrossAttention(nn.Module):
    """Cross-attention to one token: a function of the context alone."""

    def __init__(self, channels: int, context_channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, context: Float[Tensor, "... d"]) -> Float[Tensor, "... c"]:
        """What every query receives."""
        output: Tensor = self.to_out[0](self.to_v(context))
        return output


class _Layer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm and with a residual."""

    feeds_forward_first = False

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        if self.feeds_forward_first:
            self.norm_in = nn.LayerNorm(channels)
            self.ff_in = FeedForward(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = SingleTokenCrossAttention(channels, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)


class SpatialLayer(_Layer):
    """Attends over the positions of each frame."""

    def forward(
        self, hidden: Float[Tensor, "bf p c"], context: Float[Tensor, "b c"]
    ) -> Float[Tensor, "bf p c"]:
        """One layer; `context` is what the cross-attention returns per batch element."""
        hidden = self.attn1(self.norm1(hidden), hidden)
        frames = hidden.reshape(len(context), -1, *hidden.shape[1:])
        hidden = (frames + context[:, None, None]).flatten(0, 1)
        output: Tensor = self.ff(self.norm3(hidden), hidden)
        return output


class TemporalLayer(_Layer):
    """Attends over the frames of each position."""

    feeds_forward_first = True

    def forward(
        self, hidden: Float[Tensor, "b f p c"], context: Float[Tensor, "b #p c"]
    ) -> Float[Tensor, "b f p c"]:
        """One layer; `context` is what the cross-attention returns per row ``(b p)``."""
        hidden = self.ff_in(self.norm_in(hidden), hidden)
        hidden = self.attn1.over_time(self.norm1(hidden), hidden)
        hidden = hidden + context[:, None]
        output: Tensor = self.ff(self.norm3(hidden), hidden)
        return output


class SpatioTemporalTransformer(nn.Module):
    """Spatial and temporal layers in turn, blended by a learned factor, with a residual.

    Args:
        channels: Width; a multiple of 32.
        context_channels: Width of the image embedding.
        layers: Pairs of a spatial and a temporal layer.
    """

    def __init__(self, channels: int, heads: int, context_channels: int, layers: int = 1) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            SpatialLayer(channels, heads, context_channels) for _ in range(layers)
        )
        self.temporal_transformer_blocks = nn.ModuleList(
            TemporalLayer(channels, heads, context_channels) for _ in range(layers)
        )
        self.time_pos_embed = TimestepEmbedding(channels, 4 * channels, channels)
        self.time_mixer = MixFactor()
        self.proj_out = nn.Linear(channels, channels)

    def cross_attention(self, context: Float[Tensor, "g n d"]) -> TransformerConstants:
        """Cross-attention outputs of every layer for all context entries."""
        return tuple(
            LayerConstants(spatial=spatial.attn2(context), temporal=temporal.attn2(context))
            for spatial, temporal in self._layers()
        )

    def forward(
        self,
        hidden: Float[Tensor, "bf c h w"],
        constants: TransformerConstants,
        halves: Int64[Tensor, "b"],
        frames: int,
        image_only: Bool[Tensor, "b f"] | None = None,
    ) -> Float[Tensor, "bf c h w"]:
        """Attend over positions, then over frames.

        Args:
            hidden: Frames of all batch elements.
            constants: Arranged cross-attention outputs, one per layer.
            halves: Position of each batch element within its guidance group.
            frames: Per batch element.
            image_only: Where true, the temporal layers are bypassed.
        """
        residual = hidden
        hidden = self.proj_in(self.norm(hidden).flatten(2).transpose(1, 2))  # bf p c
        frame_embedding = self._frame_embedding(frames, hidden)
        for (spatial, temporal), layer in zip(self._layers(), constants, strict=True):
            rows = temporal_rows(layer.temporal, halves, hidden.shape[1])
            clip = spatial(hidden, layer.spatial).reshape(-1, frames, *hidden.shape[1:])
            share = self.time_mixer(image_only)
            if image_only is not None:
                share = share[:, :, None, None]
            mixed = torch.lerp(
                temporal(clip + frame_embedding[:, None], rows), clip, share.to(clip.dtype)
            )
            hidden = mixed.flatten(0, 1)
        rows = residual.flatten(2).transpose(1, 2)
        output = add_linear(rows, self.proj_out, hidden)
        return output.transpose(1, 2).reshape(residual.shape)

    def _layers(self) -> list[tuple[SpatialLayer, TemporalLayer]]:
        layers = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        return cast("list[tuple[SpatialLayer, TemporalLayer]]", list(layers))

    def _frame_embedding(self, frames: int, like: Tensor) -> Float[Tensor, "f c"]:
        sines = sinusoids(torch.arange(frames, device=like.device), self.proj_in.in_features)
        output: Tensor = self.time_pos_embed(sines.to(like.dtype))
        return output
