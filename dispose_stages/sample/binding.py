"""A network bound to what stays the same over a whole clip (algorithm §12)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Float32
from torch import Tensor


class ContextConstants(Protocol):
    """Cross-attention constants of a network for the guidance halves' contexts."""

    def arrange(self, batch: Any, order: Literal["official", "corrected"]) -> Any:
        """The constants in the order of a batch."""


class SpatioTemporalNetwork(Protocol):
    """What UNet and ControlNet have in common (see `dispose_stages.models`)."""

    def cross_attention(self, context: Float[Tensor, "g n d"]) -> ContextConstants:
        """What every cross-attention returns: one vector per layer and context."""

    def time_embed(self, timestep: Tensor, added_time_ids: Tensor) -> Tensor:
        """Embedding of the timestep and the numeric conditions."""

    def __call__(self, latents: Tensor, time: Tensor, context: Any, /, **conditions: Any) -> Any:
        """Run the network."""


GuidanceBatch = Callable[[int, int | None], Any]
"""``(tiles, half)`` to what each element of the batch stands for; both halves for None."""
Resident = Callable[[Any], AbstractContextManager[None]]
"""Keeps a network on the device while it is used."""


def always_resident(_: Any) -> AbstractContextManager[None]:
    """For networks that are on the device anyway."""
    return nullcontext()


def guidance_contexts(embedding: Float[Tensor, "1 d"], *, guided: bool) -> Float[Tensor, "1 n d"]:
    """Contexts of the guidance halves: zeros for the unconditional one, then the image's."""
    halves = [torch.zeros_like(embedding), embedding] if guided else [embedding]
    return torch.stack(halves, dim=1)


class BoundNetwork:
    """A network, the constants of its cross-attention and its numeric conditions.

    Args:
        network: UNet or ControlNet.
        contexts: From `guidance_contexts`.
        time_ids: Numeric conditions.
        compat: Order of the temporal contexts (Q0).
        guidance_batch: Names the elements of a batch.
        resident: Keeps the network on the device while it is used.
    """

    def __init__(
        self,
        network: SpatioTemporalNetwork,
        contexts: Float[Tensor, "1 n d"],
        time_ids: Float32[Tensor, "1 3"],
        *,
        compat: Literal["official", "corrected"],
        guidance_batch: GuidanceBatch,
        resident: Resident = always_resident,
    ) -> None:
        self._network, self._time_ids, self._resident = network, time_ids, resident
        with resident(network):
            constants = network.cross_attention(contexts)

        @cache  # a clip has one or two kinds of batches
        def arranged(tiles: int, half: int | None) -> Any:
            return constants.arrange(guidance_batch(tiles, half), order=compat)

        self._arranged = arranged

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Time embedding, once per step."""
        with self._resident(self._network):
            return self._network.time_embed(timestep, self._time_ids)

    def __call__(
        self,
        latents: Float[Tensor, "b t 8 h w"],
        time: Tensor,
        tiles: int,
        half: int | None,
        **conditions: Any,
    ) -> Any:
        """Run the network on `tiles` tiles with both guidance halves, or one `half` of them."""
        with self._resident(self._network):
            return self._network(latents, time, self._arranged(tiles, half), **conditions)
