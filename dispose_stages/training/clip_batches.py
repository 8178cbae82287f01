"""Batches of the clip store for the diffusion networks; the batch's number decides everything."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dispose_stages.training.base import BaseBatch, figure_weight
from dispose_stages.training.latents import LatentStore
from dispose_stages.training.pose_store import PoseStore


class ClipBatches:
    """Draws clips in an order that is a new permutation in every epoch.

    Args:
        clips: Per batch.
        ready: Clips to draw from; all if None.
    """

    def __init__(
        self,
        poses: PoseStore,
        latents: LatentStore,
        embeddings: Float32[Tensor, "n d"],
        *,
        clips: int,
        ready: int | None = None,
    ) -> None:
        self.poses, self.latents, self.embeddings = poses, latents, embeddings
        self.clips = clips
        self.count = ready or poses.clips.sizes.count

    def indices(self, batch: int) -> np.ndarray:
        """Which clips batch number `batch` holds."""
        per_epoch = self.count // self.clips
        epoch, position = divmod(batch, per_epoch)
        order = np.random.default_rng((epoch, 37)).permutation(self.count)
        return order[position * self.clips : (position + 1) * self.clips]

    def __call__(self, batch: int) -> BaseBatch:
        """Batch number `batch`."""
        chosen = self.indices(batch)
        store = self.poses.clips
        size = store.sizes
        weight = [figure_weight(store.boxes[i], size.height, size.width) for i in chosen]
        return BaseBatch(
            latents=torch.from_numpy(self.latents.modes[chosen].astype(np.float32)),
            poses=torch.from_numpy(self.poses.rasters[chosen]),
            context=self.embeddings[chosen],
            weight=torch.from_numpy(np.stack(weight)),
        )
