"""Quality of a bundle on figures and motions it has not seen (docs/quality.md)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from dispose_stages.artifacts import BODY_KEYPOINTS, Correspondence, MotionField, PoseTrack
from dispose_stages.atomic import write_text
from dispose_stages.config import Config, load_config
from dispose_stages.errors import UnitError
from dispose_stages.score.keypoints import FoundPose, WantedPose
from dispose_stages.score.similarity import psnr, structural_similarity
from dispose_stages.training.animate import Animator, Pixels
from dispose_stages.training.clips import motion_scene, render_clip
from dispose_stages.training.metrics import clothes_colours, near_wanted
from dispose_stages.training.settings import TrainSettings
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.wording import markdown_table

logger = logging.getLogger(__name__)

VARIANTS: Mapping[str, Mapping[str, bool]] = {
    "full": {},
    "no motion": {"motion_guidance": False},
    "no correspondence": {"correspondence_guidance": False},
    "base": {"motion_guidance": False, "correspondence_guidance": False},
}
"""Full DisPose and its ablations, as parameters of a row."""
HELD_OUT = 9_000_000
"""Seed of the first held-out clip; training uses seeds far below."""
_FPS = 8.0
"""Of the drivers; slow enough for large movements within two of the sampler's tiles."""
Clip = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A reference and a driver, with everything that no variant changes.

    Attributes:
        reference: At target size.
        own: Whether the driver shows the reference's own figure, of which `reference` is the first
            frame: what should come out is then known.
        driving: Poses detected in the driver, not aligned.
        motion: Aligned poses and the dense field.
    """

    reference: Pixels
    driver: Clip
    own: bool
    driving: PoseTrack
    motion: MotionField
    features: Correspondence

    def poses(self) -> tuple[WantedPose, WantedPose]:
        """Of the reference, repeated for every driving frame, and of the driver, aligned."""
        pose = WantedPose.of(self.motion.poses, self.motion.person)
        rows = np.arange(len(pose.points))[1:]
        still, driving = (WantedPose(pose.points[r], pose.visible[r]) for r in (0 * rows, rows))
        return still, driving


def held_out_pairs(
    animator: Animator,
    count: int,
    *,
    cross: bool,
    frames: int = 12,
    height: int = 192,
    width: int = 128,
) -> list[HeldOut]:
    """Pairs of figures and motions that no training has seen; the motions take turns.

    Pairs that cannot be aligned are left out, as a run would set them aside.

    Args:
        cross: Each figure's first frame is driven by the next clip; else by its own clip.
    """
    motions = sorted(MOTIONS)
    clips = []
    for index in range(count):
        motion = motions[index % len(motions)]
        scene = motion_scene(
            HELD_OUT + index, motion, frames=frames, height=height, width=width, fps=_FPS
        )
        clips.append(render_clip(scene)[0])
    pairs = []
    for index, clip in enumerate(clips):
        driver = clips[(index + 1) % count] if cross else clip
        driving = animator.poses(list(driver), _FPS)
        try:
            motion_field, features = animator.motion(clip[0], driving)
        except UnitError as error:
            logger.warning("a pair is left out: %s", error)
            continue
        pairs.append(HeldOut(clip[0], driver, not cross, driving, motion_field, features))
    return pairs


def animate(animator: Animator, pairs: Sequence[HeldOut], variant: str) -> list[Clip]:
    """The output of every pair."""
    outputs = []
    for number, pair in enumerate(pairs, start=1):
        changes = VARIANTS[variant]
        outputs.append(animator.animate(pair.reference, pair.motion, pair.features, **changes))
        logger.info("%s: %d of %d pairs animated", variant, number, len(pairs))
    return outputs


def score(
    animator: Animator, pairs: Sequence[HeldOut], outputs: Sequence[Clip]
) -> dict[str, float]:
    """Means over all pairs by the headings of docs/quality.md; nan where one is not defined."""
    others = [*pairs[1:], *pairs[:1]]
    rows = [
        _score_pair(pair, other, output, FoundPose.of(animator.poses(list(output))))
        for pair, other, output in zip(pairs, others, outputs, strict=True)
    ]
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def _score_pair(pair: HeldOut, other: HeldOut, output: Clip, found: FoundPose) -> dict[str, float]:
    still, wanted = pair.poses()
    others_still, others_wanted = other.poses()
    asked = wanted.visible & still.visible
    asked[:, BODY_KEYPOINTS] &= ~near_wanted(still.points, wanted)
    driving = FoundPose.of(pair.driving)
    own = list(zip(output, pair.driver, strict=True)) if pair.own else []
    return {
        "PCK@0.1": pck(found.points, found.visible, wanted),
        "of moved keypoints": pck(found.points, found.visible, wanted, asked),
        "shuffled driver": pck(found.points, found.visible, others_wanted),
        "still reference": pck(still.points, still.visible, wanted),
        "rendered truth": pck(driving.points, driving.visible, wanted) if own else math.nan,
        "PSNR dB": mean([psnr(frame, true) for frame, true in own]),
        "SSIM": mean([structural_similarity(frame, true)[0] for frame, true in own]),
        "colour error": _colour_error(output, wanted, pair.reference, still),
        "other's colour": _colour_error(output, wanted, other.reference, others_still),
    }


def pck(
    points: Float64[np.ndarray, "f 134 2"],
    seen: Bool[np.ndarray, "f 134"],
    wanted: WantedPose,
    asked: Bool[np.ndarray, "f 134"] | None = None,
) -> float:
    """Share of wanted body keypoints that are seen in the right place; nan if none is asked for.

    Args:
        seen: Whether a keypoint was found.
        wanted: Pose of the driver, aligned.
        asked: Which of the wanted ones count; all if None.
    """
    asked = wanted.visible if asked is None else asked
    hits = near_wanted(points, wanted) & seen[:, BODY_KEYPOINTS]
    return mean(hits[asked[:, BODY_KEYPOINTS]])


def _colour_error(output: Clip, pose: WantedPose, reference: Pixels, still: WantedPose) -> float:
    """Clothes of the output, read where its driver is, against a reference's."""
    colours = clothes_colours(reference, still.points[0], still.visible[0])
    drawn = map(clothes_colours, output, pose.points, pose.visible)
    return mean(np.abs(np.stack(list(drawn)) - colours))


def mean(values: ArrayLike) -> float:
    """Of what is finite; nan without any."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[np.isfinite(array)]
    return float(defined.mean()) if defined.size else math.nan


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of scores by variant."""
    rows = [
        [variant, *("-" if math.isnan(v) else f"{v:.3f}" for v in values.values())]
        for variant, values in scores.items()
    ]
    return markdown_table(["variant", *next(iter(scores.values()))], rows)


def contact_sheet(pairs: Sequence[HeldOut], outputs: Sequence[Clip]) -> Pixels:
    """Per pair two rows: the reference, then driver over result for every frame."""
    rows = []
    for pair, output in zip(pairs, outputs, strict=True):
        rows.append(np.concatenate([pair.reference, *pair.driver], axis=1))
        rows.append(np.concatenate([np.zeros_like(pair.reference), *output], axis=1))
    return np.concatenate(rows)


def measure(settings: TrainSettings, variants: Sequence[str] | None = None) -> str:
    """Animate held-out pairs with every variant, as the pipeline does by default.

    Args:
        settings: Of the training; its bundle is measured.
        variants: Names of `VARIANTS`; all if None.

    Returns:
        Markdown with a table for self-driving and one for cross-identity; also written to
        ``quality.md`` in the working folder, with contact sheets beside it.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    animator, size = Animator(pipeline_config(settings)), settings.clips
    parts = []
    for title, cross in (("Self-driving", False), ("Cross-identity", True)):
        pairs = held_out_pairs(
            animator, settings.quality_pairs, cross=cross, height=size.height, width=size.width
        )
        scores = {}
        for variant in variants or VARIANTS:
            outputs = animate(animator, pairs, variant)
            scores[variant] = score(animator, pairs, outputs)
            logger.info("%s, %s: %s", title, variant, scores[variant])
            sheet = settings.folder / f"{title}_{variant}.png".lower().replace(" ", "_")
            Image.fromarray(contact_sheet(pairs, outputs)).save(sheet)
        parts.append(f"### {title}\n\n{table(scores)}")
    text = "\n".join(parts)
    write_text(settings.folder / "quality.md", text)
    return text


def pipeline_config(settings: TrainSettings) -> Config:
    """The pipeline's own defaults for the small bundle, with this training's bundle and device."""
    return load_config(
        {
            "models": {"bundle": "small", "root": str(settings.bundle)},
            "compute": {"device": settings.device.partition(":")[0], "threads": settings.threads},
        }
    )
