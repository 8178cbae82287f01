"""Stage 2 on a data set of one's own: the ControlNet of any bundle, the published one included."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dispose_stages.atomic import replacing
from dispose_stages.errors import ConfigError
from dispose_stages.models.control_net import ControlNet, build_control_net
from dispose_stages.sample.reference import clip_pixels, normalise_image
from dispose_stages.training.artifact_clips import ArtifactClip, ArtifactClips, encode_clips
from dispose_stages.training.control import ControlBatch, ControlObjective, initialise_control_net
from dispose_stages.training.loop import Losses, Schedule, Trainer, freeze
from dispose_stages.weights import layout
from dispose_stages.weights.loading.diffusion import (
    load_control_net,
    load_mimic_motion,
    read_unet_config,
)
from dispose_stages.weights.loading.svd import (
    load_image_encoder,
    load_image_normalization,
    load_vae,
)
from dispose_stages.weights.verification import find_file

logger = logging.getLogger(__name__)


class Finetuning:
    """The networks and the data of one training.

    Args:
        models: Folder of the checkpoints.
        output: Folder of the saved state and of the result, ``DisPose.pth``.
        batch: Clips per batch; all of one size and length.
        fresh: Start from the UNet's encoder instead of the bundle's ``DisPose.pth``.
        workers: Processes that load clips.

    Raises:
        ConfigError: There are fewer clips than a batch takes.
    """

    def __init__(
        self,
        clips: ArtifactClips,
        *,
        models: Path,
        output: Path,
        schedule: Schedule,
        batch: int = 1,
        device: str = "cuda",
        fresh: bool = False,
        workers: int = 4,
    ) -> None:
        if len(clips) < batch:
            raise ConfigError(f"{len(clips)} pairs do not fill a batch of {batch}")
        self.clips, self.batch, self.workers = clips, batch, workers
        self.output, self.schedule = output, schedule
        self.device = torch.device(device)
        svd = models / layout.SVD
        config = read_unet_config(svd)
        # Frozen networks in half the memory; the trained one keeps float32 weights.
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.unet, self.pose_net = load_mimic_motion(
            find_file(models, layout.MIMIC_MOTION), config, dtype=dtype, device=self.device
        )
        self.control_net = (
            self._fresh_control_net(config)
            if fresh
            else load_control_net(
                find_file(models, layout.DISPOSE), config, unet=self.unet, device=self.device
            ).float()
        )
        self.control_net.requires_grad_(requires_grad=True).train()
        self.vae: Any = load_vae(svd, dtype=torch.float32, device=self.device)
        self.encoder: Any = load_image_encoder(svd, dtype=torch.float32, device=self.device)
        self.normalization = load_image_normalization(svd)
        freeze([self.unet, self.pose_net, self.vae, self.encoder])
        # Activations of full-size clips would take more memory than there is.
        self.unet.gradient_checkpointing = True
        self.control_net.gradient_checkpointing = True

    def run(self) -> Path:
        """Train to the end, or go on from a saved state; returns the checkpoint written."""
        objective = ControlObjective(
            self.control_net,
            self.unet,
            self.pose_net,
            scaling_factor=self.vae.scaling_factor,
        )
        batches = _Batches(self)

        def losses(batch: int) -> Losses:
            return objective(batches(batch), torch.Generator().manual_seed(batch))

        modules = {"control_net": self.control_net}
        # Adam for all of it: a trained network is not to be turned over.
        Trainer(modules, self.schedule, self.output / "state", outer=("",)).run(losses)
        state = OrderedDict((k, v.detach().cpu()) for k, v in self.control_net.state_dict().items())
        path = self.output / layout.DISPOSE
        with replacing(path) as temporary:
            torch.save(state, temporary)
        return path

    def encoded(self, clips: ArtifactClip) -> ControlBatch:
        """Latents and embedding by the frozen encoders."""

        def posterior_mode(frames: Tensor) -> Tensor:
            # One by one: the VAE's activations of a full-size frame take gigabytes.
            modes = [self.vae.encode(frame[None]) for frame in frames]
            return torch.cat(modes)

        def image_embedding(image: Tensor) -> Tensor:
            pixels = clip_pixels(normalise_image(image), *self.normalization)
            embedding: Tensor = self.encoder(pixels)[0]
            return embedding

        return encode_clips(clips, posterior_mode, image_embedding, self.device)

    def _fresh_control_net(self, config: Mapping[str, Any]) -> ControlNet:
        """One that adds nothing yet, for features of the width that the artifacts have."""
        network = build_control_net(config, self.clips[0]["embedding"].shape[-1])
        initialise_control_net(network.to(self.device), self.unet)
        return network


class _Batches:
    """Batch number to batch: a new order of the pairs in every epoch, loaded ahead."""

    def __init__(self, training: Finetuning) -> None:
        self.training = training
        self._next: int | None = None
        self._loaded: Any = None

    def __call__(self, batch: int) -> ControlBatch:
        if self._next != batch:
            self._loaded = iter(self._loader(batch))
        clips = next(self._loaded, None)
        if clips is None:
            self._loaded = iter(self._loader(batch))
            clips = next(self._loaded)
        self._next = batch + 1
        return self.training.encoded(clips)

    def _loader(self, batch: int) -> DataLoader[ArtifactClip]:
        """The rest of the epoch that batch number `batch` lies in."""
        data, size = self.training.clips, self.training.batch
        per_epoch = len(data) // size
        data.epoch, position = divmod(batch, per_epoch)
        order = np.random.default_rng((data.epoch, 47)).permutation(len(data))
        rows = order[: per_epoch * size].reshape(per_epoch, size)
        return DataLoader(
            data,
            batch_sampler=rows[position:].tolist(),
            num_workers=self.training.workers,
        )
