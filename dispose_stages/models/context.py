"""Cross-attention over one image token, as constants, and which constant each batch row adds.

The video model cross-attends to a single token, the image embedding. A softmax over one key is 1,
so every cross-attention layer returns ``to_out(to_v(context))``: one vector per layer and context,
whatever the queries (algorithm §12). `ArrangedContext` holds these vectors in the order of one kind
of batch; it is computed once per run.

The order matters for temporal layers (quirk Q0). Their rows are ``r = b * (h * w) + p``; the
released weights were trained with row ``r`` attending to context entry ``r mod n`` of its guidance
group (``official``) instead of the entry of its own half ``b`` (``corrected``). ``h * w`` is odd at
some sizes, so the pattern of half 1 may begin with either entry. Because a row needs to know only
its half and the contexts of all halves, halves may be run one after the other, and tiles may be
stacked, with the result of the original's batch of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

TemporalOrder = Literal["official", "corrected"]
"""Order of the temporal contexts; the values are those of the ``compat`` switch."""


@dataclass(frozen=True, slots=True)
class GuidanceBatch:
    """What the elements of a batch stand for.

    A *group* is what the original would run as one batch: the halves of classifier-free guidance
    of one clip. Its context *entries* are the embeddings of the halves.

    Attributes:
        groups: Context group of each batch element.
        halves: Position of each batch element within its group, 0 unconditional, 1 conditional.
    """

    groups: tuple[int, ...]
    halves: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.halves):
            raise ValueError("groups and halves must name the same batch elements")

    def __len__(self) -> int:
        return len(self.groups)

    @classmethod
    def tiles(cls, count: int, halves: tuple[int, ...] = (0, 1)) -> GuidanceBatch:
        """Tiles of one clip, the given halves of each: ``[t0 half 0, t0 half 1, t1 half 0, ...]``.

        The only half where there is no guidance is half 0.
        """
        return cls(groups=(0,) * (len(halves) * count), halves=halves * count)

    @classmethod
    def separate(cls, batch: int) -> GuidanceBatch:
        """Unrelated clips without guidance, a context group each (training)."""
        return cls(groups=tuple(range(batch)), halves=(0,) * batch)


@dataclass(frozen=True, slots=True)
class LayerConstants:
    """What the spatial and the temporal cross-attention of one layer return per context.

    Attributes:
        spatial: ``(g n c)`` as computed, ``(b c)`` once arranged.
        temporal: ``(g n c)`` as computed, ``(b n c)`` once arranged: the entries that alternate
            over the rows of each batch element, a single one if they do not.
    """

    spatial: Float[Tensor, "..."]
    temporal: Float[Tensor, "..."]


TransformerConstants = tuple[LayerConstants, ...]
"""One per layer of a transformer (one layer in the published networks)."""
BlockConstants = tuple[TransformerConstants, ...]
"""One per transformer of a block; empty for blocks without attention."""


@dataclass(frozen=True, slots=True)
class ArrangedContext:
    """Cross-attention constants of a network in the order of one batch.

    Attributes:
        blocks: Per block in order of execution: down blocks, mid block, up blocks.
        halves: Position of each batch element within its guidance group.
    """

    blocks: tuple[BlockConstants, ...]
    halves: Int64[Tensor, "b"]


def arrange(layer: LayerConstants, batch: GuidanceBatch, order: TemporalOrder) -> LayerConstants:
    """The constants of one layer in the order of a batch (Q0)."""
    groups, halves = (
        torch.tensor(index, device=layer.spatial.device) for index in (batch.groups, batch.halves)
    )
    temporal = layer.temporal[groups]
    if order == "corrected":
        temporal = layer.temporal[groups, halves].unsqueeze(1)
    return LayerConstants(spatial=layer.spatial[groups, halves], temporal=temporal)


def temporal_rows(
    entries: Float[Tensor, "b n c"], halves: Int64[Tensor, "b"], positions: int
) -> Float[Tensor, "b #p c"]:
    """What each row ``(b p)`` of a temporal layer adds.

    Args:
        entries: The entries that alternate over the rows of each batch element.
        halves: Position of each batch element within its guidance group.
        positions: ``h * w`` at this layer.

    Returns:
        Entry ``(half * positions + p) mod n`` per row; a broadcastable single row if ``n`` is 1.
    """
    count = entries.shape[1]
    if count == 1:
        return entries
    position = torch.arange(positions, device=entries.device)
    index = (halves[:, None] * positions + position) % count
    return torch.take_along_dim(entries, index[:, :, None], dim=1)
