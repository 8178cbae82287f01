"""Measure a bundle: a table per set of pairs and a contact sheet per variant."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2

from dispose_stages.atomic import write_text
from dispose_stages.sample.clip import SamplingParameters
from dispose_stages.training.animate import Animator
from dispose_stages.training.quality import (
    HEADER,
    VARIANTS,
    animate,
    contact_sheet,
    held_out_pairs,
    prepare,
    score,
)
from dispose_stages.training.settings import TrainSettings

logger = logging.getLogger(__name__)


def sampling_parameters(settings: TrainSettings) -> SamplingParameters:
    """How held-out clips are sampled."""
    quality = settings.quality
    return SamplingParameters(
        tile_size=settings.clips.frames,
        tile_overlap=2,
        num_inference_steps=quality.num_inference_steps,
        guidance_min=quality.guidance,
        guidance_max=quality.guidance,
    )


def measure(settings: TrainSettings, variants: Sequence[str] | None = None) -> str:
    """Animate held-out pairs with every variant.

    Args:
        settings: Of the training; its bundle is measured.
        variants: Names of `VARIANTS`; all if None.

    Returns:
        Markdown with a table for self-driving and one for cross-identity; also written to
        ``quality.md`` in the working folder, with contact sheets beside it.
    """
    animator = Animator(settings.bundle, device=settings.device)
    clips, parameters = settings.clips, sampling_parameters(settings)
    parts = []
    for title, cross in (("Self-driving", False), ("Cross-identity", True)):
        pairs = held_out_pairs(
            settings.quality.pairs, cross=cross, height=clips.height, width=clips.width
        )
        prepared = prepare(animator, pairs)
        lines = [f"### {title}", "", HEADER]
        for name in variants or VARIANTS:
            animations = animate(animator, prepared, parameters, VARIANTS[name])
            lines.append(score(prepared, animations).row(name))
            logger.info("%s, %s", title, lines[-1])
            sheet = settings.folder / f"{title}_{name}.png".lower().replace(" ", "_")
            cv2.imwrite(str(sheet), contact_sheet(prepared, animations)[:, :, ::-1])
        parts.append("\n".join(lines))
    text = "\n\n".join(parts) + "\n"
    write_text(settings.folder / "quality.md", text)
    return text
