"""A network bound to what stays the same over a whole clip (algorithm §12)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from dispose_stages.models.context import ArrangedContext, GuidanceBatch
from dispose_stages.models.encoder import SpatioTemporalEncoder

Resident = Callable[[nn.Module], AbstractContextManager[None]]
"""Keeps a network on the device while it is used."""


def always_resident(_: nn.Module) -> AbstractContextManager[None]:
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
        resident: Keeps the network on the device while it is used.
    """

    def __init__(
        self,
        network: SpatioTemporalEncoder,
        contexts: Float[Tensor, "1 n d"],
        time_ids: Float32[Tensor, "1 3"],
        *,
        compat: Literal["official", "corrected"],
        resident: Resident = always_resident,
    ) -> None:
        self._network, self._time_ids, self._resident = network, time_ids, resident

        @cache  # a clip has one or two kinds of batches
        def arranged(batch: GuidanceBatch) -> ArrangedContext:
            return network.cross_attention(contexts, batch, compat)

        self._arranged = arranged

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Time embedding, once per step."""
        with self._resident(self._network):
            return self._network.time_embed(timestep, self._time_ids)

    def __call__(
        self,
        latents: Float[Tensor, "b t 8 h w"],
        time: Tensor,
        batch: GuidanceBatch,
        **conditions: Any,
    ) -> Any:
        """Run the network; `conditions` are its own keyword arguments."""
        with self._resident(self._network):
            return self._network(latents, time, self._arranged(batch), **conditions)
