"""What every shortcut does to clips of the small bundle, against 25 full steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.sample.unit import SampleParams
from dispose_stages.score.clip import FramePair, clip_values, scan_clip
from dispose_stages.score.keypoints import FoundPose
from dispose_stages.score.similarity import psnr
from dispose_stages.training.animate import Animator
from dispose_stages.training.quality import HeldOut, pck

logger = logging.getLogger(__name__)
REFERENCE = {"num_inference_steps": 25}
Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Clip:
    """A sampled clip: latents, and frames without the reference."""

    latents: Float32[np.ndarray, "f 4 h w"]
    frames: UInt8[np.ndarray, "f h w 3"]


def parameters(animator: Animator, changes: Changes) -> SampleParams:
    """The configuration's with changes."""
    params = SampleParams.of(animator.config.parameters, animator.config.sampling)
    return params.model_copy(update=dict(changes))


def animate(animator: Animator, pair: HeldOut, changes: Changes) -> Clip:
    """Sample and decode a pair."""
    sampler = animator._sample
    params = parameters(animator, changes)
    inputs = sampler.inputs(pair.reference, pair.motion, pair.features, params)
    latents = sampler.compute(**inputs).latents
    frames = animator._mux.decode(latents, animator.config.parameters.decode_chunk_size)
    return Clip(latents, np.stack(list(frames)))


def compare(animator: Animator, pair: HeldOut, clip: Clip, full: Clip) -> dict[str, float]:
    """Nearness to 25 full steps, and what `score` says of the clip itself."""
    _, wanted = pair.poses()
    found = FoundPose.of(animator.poses(list(clip.frames)))
    steps = [FramePair(r, t) for r, t in zip(clip.frames, pair.driver, strict=True)]
    no_borders = np.zeros(len(steps) - 1, dtype=bool)
    measured = clip_values(scan_clip(steps, ("correct",)), no_borders)
    near = [psnr(a, b) for a, b in zip(clip.frames, full.frames, strict=True)]
    return {
        "latents dB": latent_psnr(clip.latents, full.latents),
        "frames dB": float(np.mean(near)),
        "truth dB": measured["psnr"],
        "PCK@0.1": pck(found.points, found.visible, wanted),
        "drift of colour": measured["drift_colour"],
        "drift of sharpness": measured["drift_sharpness"],
    }


def latent_psnr(latents: np.ndarray, full: np.ndarray) -> float:
    """Decibels against the range of the full clip's latents; at most 100."""
    error = float(np.square(latents - full, dtype=np.float64).mean())
    return min(100.0, float(10 * np.log10(np.ptp(full) ** 2 / error))) if error else 100.0


def measure(
    animator: Animator, pairs: Sequence[HeldOut], variants: Mapping[str, Changes]
) -> dict[str, dict[str, float]]:
    """Means over pairs, by variant."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for number, pair in enumerate(pairs, start=1):
        full = animate(animator, pair, REFERENCE)
        for name, changes in variants.items():
            clip = full if changes == REFERENCE else animate(animator, pair, changes)
            rows[name].append(compare(animator, pair, clip, full))
        logger.info("pair %d of %d", number, len(pairs))
    return {
        name: {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        for name, found in rows.items()
    }
