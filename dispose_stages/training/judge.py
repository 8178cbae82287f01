"""Whether a bundle's guidance says anything: errors of single denoising steps, with and without it.

A ControlNet can help by its mere capacity. What tells guidance from capacity is the guidance of
somebody else: full DisPose against full DisPose with another clip's motion, or another figure's
embedding, under the same noise (docs/quality.md).
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dispose_stages.atomic import canonical_json, write_text
from dispose_stages.config import GPU_STAGES, Config
from dispose_stages.score.statistics import Estimate, estimate
from dispose_stages.training.base import BaseObjective
from dispose_stages.training.clip_batches import ClipBatches
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.control import ControlBatch, ControlObjective
from dispose_stages.training.control_data import ControlBatches, ControlStore
from dispose_stages.training.diffusion import Predict, add_noise
from dispose_stages.training.image_embedding import embed_images
from dispose_stages.training.latents import LatentStore
from dispose_stages.training.networks import SCALING_FACTOR
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.quality import HELD_OUT
from dispose_stages.training.settings import TrainSettings
from dispose_stages.training.small_configs import POINT_CHANNELS
from dispose_stages.weights import layout
from dispose_stages.weights.digests import DigestCache, digest_stages
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.loading.diffusion import load_diffusion_networks
from dispose_stages.weights.loading.dift import load_dift
from dispose_stages.weights.loading.svd import load_image_encoder, load_vae
from dispose_stages.weights.verification import find_file
from dispose_stages.wording import markdown_table

logger = logging.getLogger(__name__)

_CLIPS_PER_BATCH = 4
_QUANTILES = (1 / 6, 1 / 2, 5 / 6)
"""Of the training's noise levels; every clip is looked at on each."""
REFERENCE, OTHERS_MOTION = "full", "another clip's motion"
OTHERS_EMBEDDING, BASE = "another's embedding", "base"
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    REFERENCE: (True, True),
    OTHERS_MOTION: (True, True),
    OTHERS_EMBEDDING: (True, True),
    "no motion": (False, True),
    "no correspondence": (True, False),
    "no guidance": (False, False),
    BASE: (False, False),
}
"""What is compared, and whether it has motion and correspondence."""


class Judge:
    """A bundle's diffusion networks, and held-out clips with all that they read.

    Args:
        settings: Of the training; its bundle is judged, on clips below its working folder.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.device = torch.device(settings.device)
        root = settings.bundle
        # Untyped, as diffusers is.
        self.vae: Any = load_vae(root / layout.SVD, dtype=torch.float32, device=self.device)
        unet, pose_net, control_net = load_diffusion_networks(
            root, dtype=torch.float32, device=self.device
        )
        self.base = BaseObjective(unet, pose_net, scaling_factor=SCALING_FACTOR)
        self.full = ControlObjective(control_net, unet, pose_net, scaling_factor=SCALING_FACTOR)

    def clips(self) -> ControlBatches:
        """Held-out clips, rendered and encoded by the bundle's own networks; resumable."""
        settings, root = self.settings, self.settings.bundle
        store = held_out_clips(settings, count=settings.judge_clips, first_seed=HELD_OUT)
        poses, latents = PoseStore(store), LatentStore(store)
        poses.fill()
        latents.fill(self.vae, device=self.device)
        cmp = load_cmp(find_file(root, layout.CMP), device=self.device)
        prompt = Config().correspondence.prompt
        dift = load_dift(root / layout.SD15, prompt=prompt, device=self.device)
        control = ControlStore(poses, POINT_CHANNELS)
        network = cmp if settings.flow == "cmp" else None
        control.fill(network, dift, clips=store.sizes.count, device=self.device)
        encoder = load_image_encoder(root / layout.SVD, dtype=torch.float32, device=self.device)
        embeddings = embed_images(encoder, list(store.images[:, 0]), device=self.device)
        base = ClipBatches(poses, latents, embeddings, clips=_CLIPS_PER_BATCH)
        return ControlBatches(base, control)

    @torch.inference_mode()
    def errors(
        self, batches: ControlBatches, names: Collection[str] = VARIANTS
    ) -> dict[str, Float[np.ndarray, "n levels"]]:
        """Mean square error of ``v`` inside the figure, by variant, clip and noise level."""
        found: dict[str, list[Tensor]] = defaultdict(list)
        count = batches.base.count // _CLIPS_PER_BATCH
        for index in range(count):
            batch = batches(index).to(self.device)
            for name in names:
                found[name].append(self._error(batch, self._variant(name, batch), index))
            logger.info("batch %d of %d", index + 1, count)
        return {name: torch.cat(values).double().cpu().numpy() for name, values in found.items()}

    def _variant(self, name: str, batch: ControlBatch) -> Predict:
        """One of `VARIANTS`, for one batch."""
        shown = torch.ones(len(batch.latents), device=self.device)
        if name == BASE:
            return self.base.predict(batch, shown)
        if name == OTHERS_MOTION:
            dense, trajectory = batch.dense.roll(1, dims=0), batch.trajectory.roll(1, dims=0)
            batch = replace(batch, dense=dense, trajectory=trajectory)
        if name == OTHERS_EMBEDDING:
            batch = replace(batch, embedding=batch.embedding.roll(1, dims=0))
        motion, points = VARIANTS[name]
        return self.full.predict(batch, shown, motion=motion, points=points)

    def _error(
        self, batch: ControlBatch, predict: Predict, index: int
    ) -> Float[Tensor, "b levels"]:
        clean = batch.latents * self.base.scaling_factor
        inside = (batch.weight == 1).expand_as(clean)
        errors = []
        for level, value in enumerate(self.sigmas()):
            sigma = value.expand(len(clean)).to(clean.device)
            generator = torch.Generator().manual_seed(1_000 * index + level)
            noise = torch.randn(clean.shape, generator=generator).to(clean.device)
            noisy, timestep, target = add_noise(clean, sigma, noise)
            square = (predict(noisy, timestep) - target).square()
            errors.append((square * inside).sum((1, 2, 3, 4)) / inside.sum((1, 2, 3, 4)))
        return torch.stack(errors, dim=1)

    def sigmas(self) -> Float[Tensor, "levels"]:
        """Noise levels at which every clip is looked at."""
        return self.settings.levels.quantile(torch.tensor(_QUANTILES))


def held_out_clips(settings: TrainSettings, **sizes: float) -> ClipStore:
    """Rendered clips that nothing was trained on, in a folder that this bundle alone uses.

    Args:
        settings: Of the training; its clips of stage 2 are the pattern.
        sizes: What is different here, ``first_seed`` at least.
    """
    cache = DigestCache(settings.folder / "digests.json")
    digests = digest_stages(settings.bundle, GPU_STAGES, cache)
    name = hashlib.sha256(canonical_json(digests).encode()).hexdigest()[:12]
    wanted = settings.control_clips.model_copy(update=sizes)
    folder = settings.folder / f"held_out_{wanted.first_seed}_{name}"
    store = ClipStore.create(folder, wanted)
    store.fill()
    return store


def compare(errors: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, Estimate]:
    """Difference of every other variant's error to that of full DisPose, in percent of the latter.

    Intervals are those of a bootstrap over clips; positive is worse than full.
    """
    full = errors[REFERENCE]
    return {
        name: estimate(100 * (values - full) / full.mean())
        for name, values in errors.items()
        if name != REFERENCE
    }


def judge(settings: TrainSettings) -> str:
    """Judge the bundle; returns a Markdown table, also written to ``judge.md``."""
    networks = Judge(settings)
    errors = networks.errors(networks.clips())
    columns = {"all": {name: values.mean(axis=1) for name, values in errors.items()}}
    for level, sigma in enumerate(networks.sigmas()):
        columns[f"sigma {sigma:.2g}"] = {n: values[:, level] for n, values in errors.items()}
    text = _table({title: compare(column) for title, column in columns.items()})
    write_text(settings.folder / "judge.md", text)
    return text


def _table(columns: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Markdown: a column per noise level, a row per variant."""
    rows = []
    for name in next(iter(columns.values())):
        values = [column[name] for column in columns.values()]
        rows.append([name, *(f"{v.mean:+.2f} % [{v.low:+.2f}, {v.high:+.2f}]" for v in values)])
    return markdown_table(["instead of full DisPose", *columns], rows)
