"""The spatio-temporal transformer of Stable Video Diffusion, cross-attention as constants.

Attribute names are those of the published state dicts (``transformer_blocks``, ``attn1``, ...).
``attn2.to_q``, ``attn2.to_k`` and ``norm2`` are part of the checkpoints but have no influence on
the result: see `dispose_stages.models.context`.

Axes: ``b`` batch, ``f`` frames, ``p`` positions (``h * w``), ``c`` channels.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import AlphaBlender
from jaxtyping import Bool, Float, Int64
from torch import Tensor, arange, cat, nn

from dispose_stages.models.context import LayerConstants, TransformerConstants, temporal_rows

MAX_ATTENTION_BATCH = 65_535
"""CUDA's fused attention puts rows times heads on a grid axis of this length."""


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second axis."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, hidden: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Attend within each of the ``n`` sequences of ``t`` tokens."""
        query, key, value = (
            projection(hidden).reshape(*hidden.shape[:2], self.heads, -1).transpose(1, 2)
            for projection in (self.to_q, self.to_k, self.to_v)
        )
        rows = MAX_ATTENTION_BATCH // self.heads
        if len(hidden) <= rows:
            attended = F.scaled_dot_product_attention(query, key, value)
        else:
            parts = zip(query.split(rows), key.split(rows), value.split(rows), strict=True)
            attended = cat([F.scaled_dot_product_attention(*part) for part in parts])
        output: Tensor = self.to_out[0](attended.transpose(1, 2).flatten(2))
        return output


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


class SpatialLayer(nn.Module):
    """Self-attention over the positions of each frame, cross-attention, feed-forward."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = SingleTokenCrossAttention(channels, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, activation_fn="geglu")

    def forward(
        self, hidden: Float[Tensor, "bf p c"], context: Float[Tensor, "b c"]
    ) -> Float[Tensor, "bf p c"]:
        """One layer; `context` is what the cross-attention returns per batch element."""
        hidden = hidden + self.attn1(self.norm1(hidden))
        frames = hidden.reshape(len(context), -1, *hidden.shape[1:])
        hidden = (frames + context[:, None, None]).flatten(0, 1)
        output: Tensor = hidden + self.ff(self.norm3(hidden))
        return output


class TemporalLayer(nn.Module):
    """The same over the frames of each position, after a first feed-forward."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels, dim_out=channels, activation_fn="geglu")
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = SingleTokenCrossAttention(channels, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, activation_fn="geglu")

    def forward(
        self, hidden: Float[Tensor, "bf p c"], context: Float[Tensor, "b #p c"]
    ) -> Float[Tensor, "bf p c"]:
        """One layer; `context` is what the cross-attention returns per row ``(b p)``."""
        batch, (_, positions, channels) = len(context), hidden.shape
        hidden = hidden.reshape(batch, -1, positions, channels).transpose(1, 2)  # b p f c
        rows = hidden.shape
        hidden = hidden.flatten(0, 1)
        hidden = hidden + self.ff_in(self.norm_in(hidden))
        hidden = hidden + self.attn1(self.norm1(hidden))
        hidden = (hidden.reshape(rows) + context[:, :, None]).flatten(0, 1)
        hidden = hidden + self.ff(self.norm3(hidden))
        return hidden.reshape(rows).transpose(1, 2).flatten(0, 1)


class SpatioTemporalTransformer(nn.Module):
    """Spatial and temporal layers in turn, blended by a learned factor, with a residual.

    Args:
        channels: Width; a multiple of 32.
        heads: Attention heads.
        context_channels: Width of the image embedding.
        layers: Pairs of a spatial and a temporal layer.
    """

    def __init__(self, channels: int, heads: int, context_channels: int, layers: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            SpatialLayer(channels, heads, context_channels) for _ in range(layers)
        )
        self.temporal_transformer_blocks = nn.ModuleList(
            TemporalLayer(channels, heads, context_channels) for _ in range(layers)
        )
        self.time_pos_embed = TimestepEmbedding(channels, 4 * channels, out_dim=channels)
        self.time_proj = Timesteps(channels, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_mixer = AlphaBlender(alpha=0.5, merge_strategy="learned_with_images")
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
        image_only: Bool[Tensor, "b f"],
    ) -> Float[Tensor, "bf c h w"]:
        """Attend over positions, then over frames.

        Args:
            hidden: Frames of all batch elements.
            constants: Arranged cross-attention outputs, one per layer.
            halves: Position of each batch element within its guidance group.
            image_only: Where true, the temporal layers are bypassed.
        """
        residual = hidden
        hidden = self.proj_in(self.norm(hidden).flatten(2).transpose(1, 2))  # bf p c
        frame_embedding = self._frame_embedding(image_only.shape[1], hidden)
        for (spatial, temporal), layer in zip(self._layers(), constants, strict=True):
            rows = temporal_rows(layer.temporal, halves, hidden.shape[1])
            hidden = spatial(hidden, layer.spatial)
            frames = hidden.reshape(*image_only.shape, *hidden.shape[1:])
            numbered = frames + frame_embedding[:, None]
            hidden = self.time_mixer(
                x_spatial=hidden,
                x_temporal=temporal(numbered.flatten(0, 1), rows),
                image_only_indicator=image_only,
            )
        output: Tensor = self.proj_out(hidden).transpose(1, 2).reshape(residual.shape)
        return output + residual

    def _layers(self) -> list[tuple[SpatialLayer, TemporalLayer]]:
        layers = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        return cast("list[tuple[SpatialLayer, TemporalLayer]]", list(layers))

    def _frame_embedding(self, frames: int, like: Tensor) -> Float[Tensor, "f c"]:
        sines = self.time_proj(arange(frames, device=like.device))
        output: Tensor = self.time_pos_embed(sines.to(like.dtype))
        return output
