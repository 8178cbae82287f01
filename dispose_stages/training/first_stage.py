"""The steps of a training up to its base, from files of the working folder to files in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dispose_stages.training import networks
from dispose_stages.training import small_configs as configs
from dispose_stages.training.autoencoder import (
    clip_batch,
    decoding_losses,
    random_crops,
    reconstruction_losses,
    start_as_identity,
    start_with_offsets,
)
from dispose_stages.training.base import BaseObjective, initialise_base
from dispose_stages.training.clip_batches import ClipBatches
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.flow import flow_batch, flow_losses
from dispose_stages.training.image_embedding import (
    embed_images,
    random_image_encoder,
    spread_embedding,
)
from dispose_stages.training.latents import LatentStore, normalise_latents, to_pixels
from dispose_stages.training.loop import Losses, Trainer, freeze
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.settings import Steps, TrainSettings

logger = logging.getLogger(__name__)

CROP = 64
"""Side of the squares the VAE is trained on, pixels."""
WHOLE_FRAMES = 3
"""Of a clip that the decoder is trained on at full size."""
_OUTER = ("conv_in", "conv_out", "time_embedding", "add_embedding", "time_pos_embed")
"""Parts of the names of layers that Adam serves better than orthogonalised momentum."""
_STATISTICS = 100
"""Clips from which scale and directions of latents and embeddings are taken."""


class FirstStage:
    """The steps up to the base; each goes on where it was interrupted."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.clips = settings.folder / "clips"
        self.control_clips = settings.folder / "control_clips"
        self.device = torch.device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)

    def data(self) -> None:
        """Render the clips of both stages and draw their poses."""
        wanted = {self.clips: self.settings.clips, self.control_clips: self.settings.control_clips}
        for folder, sizes in wanted.items():
            store = ClipStore.create(folder, sizes)
            store.fill()
            PoseStore(store).fill()

    def vae(self) -> None:
        """Train encoder and decoder."""
        torch.manual_seed(self.settings.seed)
        vae, steps = networks.new_vae(), self.settings.vae
        start_as_identity(vae)
        start_with_offsets(vae)
        colours = nn.Conv2d(vae.latent_channels, 3, kernel_size=1)
        store = ClipStore(self.clips)

        def losses(batch: int) -> Losses:
            crops, generator = self._crops(store, steps, batch)
            return reconstruction_losses(vae, colours, crops, generator=generator)

        self._train("vae", steps, losses, vae=vae, colours=colours)
        vae.eval()
        images = to_pixels(store.images[:_STATISTICS].reshape(-1, *store.images.shape[2:]))
        mean, deviation = normalise_latents(vae.cpu(), images[::2], networks.SCALING_FACTOR)
        logger.info("latents had mean %s, deviation %s", mean.tolist(), deviation.tolist())
        networks.save_weights(self._weights("vae"), vae=vae)

    def encode(self) -> None:
        """Latents and embeddings of all clips, by the frozen encoders."""
        vae = networks.new_vae().eval()
        networks.load_weights(self._weights("vae"), vae=vae)
        store = ClipStore(self.clips)
        encoder: Any = random_image_encoder(configs.SVD_IMAGE_ENCODER, seed=self.settings.seed)
        spread_embedding(encoder, list(store.images[: 4 * _STATISTICS, 0]))
        networks.save_weights(self._weights("image_encoder"), image_encoder=encoder)
        self._encode(store, vae, encoder, "embeddings")

    def _encode(self, store: ClipStore, vae: nn.Module, encoder: nn.Module, embedded: str) -> None:
        LatentStore(store).fill(vae.to(self.device), device=self.device)
        images = list(store.images[:, 0])
        embeddings = embed_images(encoder.to(self.device), images, device=self.device)
        torch.save(embeddings, self._weights(embedded))

    def decoder(self) -> None:
        """Train the decoder on, with the encoder frozen: on squares, then on whole frames.

        Norms see other statistics in a whole frame than in a square around the figure; without the
        second part colours drift from frame to frame.
        """
        vae, steps = networks.new_vae(), self.settings.decoder
        networks.load_weights(self._weights("vae"), vae=vae)
        freeze([vae.encoder, vae.quant_conv])
        store = ClipStore(self.clips)

        def losses(batch: int) -> Losses:
            if batch < self.settings.decoder_squares:
                clips, generator = self._crops(store, steps, batch)
            else:
                rng, generator = self._rng(batch), self._generator(batch)
                clips = clip_batch(store, batch, clips=1, frames=WHOLE_FRAMES, rng=rng)
            return decoding_losses(vae, clips.to(self.device), generator=generator)

        self._train("decoder", steps, losses, vae=vae)
        networks.save_weights(self._weights("decoder"), vae=vae)

    def base(self) -> None:
        """Stage 1."""
        torch.manual_seed(self.settings.seed)
        unet, pose_net = networks.new_base()
        initialise_base(unet, pose_net, networks.SCALING_FACTOR)
        unet.gradient_checkpointing = self.settings.base.checkpointing
        objective = BaseObjective(
            unet,
            pose_net,
            scaling_factor=networks.SCALING_FACTOR,
            levels=self.settings.levels,
        )
        batches = self.batches(self.settings.base.batch, self.clips, "embeddings")
        losses = self._losses(objective, batches)
        self._train("base", self.settings.base, losses, unet=unet, pose_net=pose_net)
        networks.save_weights(self._weights("base"), unet=unet, pose_net=pose_net)

    def cmp(self) -> None:
        """Train CMP against true flow."""
        torch.manual_seed(self.settings.seed)
        network, steps, clips = networks.new_cmp().train(), self.settings.cmp, self.settings.clips

        def losses(batch: int) -> Losses:
            examples = flow_batch(
                batch,
                clips=steps.batch,
                frames=clips.frames,
                height=clips.height,
                width=clips.width,
                first_seed=5_000_000,
            )
            image, sparse, flow = (part.to(self.device) for part in examples)
            return flow_losses(network, (image, sparse, flow), np.random.default_rng(batch))

        self._train("cmp", steps, losses, cmp=network)
        networks.save_weights(self._weights("cmp"), cmp=network.eval())

    def batches(
        self, clips: int, folder: Path, embedded: str, count: int | None = None
    ) -> ClipBatches:
        """Batches of the first `count` clips of a folder, of all that have latents if None."""
        store = ClipStore(folder)
        embeddings: Tensor = torch.load(self._weights(embedded), weights_only=True)
        latents = LatentStore(store)
        ready = min(count or store.sizes.count, latents.ready)
        return ClipBatches(PoseStore(store), latents, embeddings, clips=clips, ready=ready)

    def _crops(self, store: ClipStore, steps: Steps, batch: int) -> tuple[Tensor, torch.Generator]:
        rng = self._rng(batch)
        clips = clip_batch(store, batch, clips=steps.batch, frames=2, rng=rng)
        return random_crops(clips, CROP, rng).to(self.device), self._generator(batch)

    def _rng(self, batch: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, batch))

    def _generator(self, batch: int) -> torch.Generator:
        return torch.Generator().manual_seed(1_000_003 * self.settings.seed + batch)

    def _losses(self, objective: Any, batches: Any) -> Callable[[int], Losses]:
        """Of a batch by its number."""
        return lambda batch: objective(batches(batch).to(self.device), self._generator(batch))

    def _train(self, name: str, steps: Steps, losses: Any, **modules: nn.Module) -> None:
        """Train to the end, or go on from a saved state; then the modules hold the average."""
        for module in modules.values():
            module.to(self.device)
        folder, mixed = self.settings.folder / "state" / name, self.settings.precision == "bf16"
        Trainer(modules, steps, folder, mixed=mixed, outer=_OUTER).run(losses)

    def _weights(self, name: str) -> Path:
        """Result of a step."""
        return self.settings.folder / f"{name}.pt"
