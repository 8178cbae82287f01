"""Quality of a bundle on figures and motions it has not seen (docs/quality.md)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dispose_stages.artifacts import Frame, MotionField
from dispose_stages.errors import UnitError
from dispose_stages.sample.clip import SamplingParameters
from dispose_stages.training.animate import Animation, Animator, Guidance, Image, body_of
from dispose_stages.training.clips import motion_scene, render_clip
from dispose_stages.training.metrics import (
    clothes_colours,
    correct_keypoints,
    far_keypoints,
    psnr,
    ssim,
)
from dispose_stages.training.world.motion import MOTIONS

logger = logging.getLogger(__name__)

VARIANTS: Mapping[str, Guidance] = {
    "full": Guidance(),
    "no motion": Guidance(motion=False),
    "no correspondence": Guidance(correspondence=False),
    "base": Guidance(motion=False, correspondence=False),
}
"""Full DisPose and its ablations."""
HELD_OUT = 9_000_000
"""Seed of the first held-out clip; training uses seeds far below."""
_FPS = 8.0
"""Of the drivers; slow enough for large movements within two of the sampler's tiles."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all clips of a set; nan where a score is not defined.

    Attributes:
        pck: Keypoints of the aligned driver found in the right place in the output.
        pck_moved: The same for keypoints that are elsewhere in the reference: a figure that does
            not move has none of them right.
        pck_shuffled: `pck` against the driver of another clip: what chance gives.
        pck_still: `pck` of the reference, unmoved.
        pck_truth: `pck` of the driver's own frames, moved by the alignment: what the detector
            makes of a perfect picture (self-driving only).
        psnr: Against the rendered truth, dB (self-driving only).
        ssim: Likewise.
        colour: Mean absolute RGB error of the clothes against the reference, in [0, 1].
        colour_shuffled: The same against another clip's reference.
    """

    pck: float
    pck_moved: float
    pck_shuffled: float
    pck_still: float
    pck_truth: float
    psnr: float
    ssim: float
    colour: float
    colour_shuffled: float

    def row(self, name: str) -> str:
        """One line of a Markdown table."""
        cells = ["-" if math.isnan(v) else f"{v:.3f}" for v in asdict(self).values()]
        return f"| {name} | {' | '.join(cells)} |"


HEADER = (
    "| variant | PCK@0.1 | of moved keypoints | shuffled driver | still reference "
    "| rendered truth | PSNR dB | SSIM | colour error | other's colour |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and a driver; `truth` where the driver shows the reference's own figure."""

    reference: Image
    driver: Sequence[Image]
    truth: Sequence[Image] | None


def held_out_pairs(
    count: int, *, cross: bool, frames: int = 12, height: int = 192, width: int = 128
) -> list[Pair]:
    """Pairs of figures and motions that no training has seen; the motions take turns.

    Args:
        count: How many.
        cross: Each figure's first frame is driven by the next clip; else by its own clip, of
            which the reference is the first frame (so that the alignment is nearly the identity
            and the rendered frames are what should come out).
        frames: Of a driver.
        height: Of the images, pixels.
        width: Likewise.
    """
    motions = sorted(MOTIONS)
    clips = []
    for index in range(count):
        scene = motion_scene(
            HELD_OUT + index,
            motions[index % len(motions)],
            frames=frames,
            height=height,
            width=width,
            fps=_FPS,
        )
        clips.append(list(render_clip(scene)[0]))
    pairs = []
    for index, clip in enumerate(clips):
        driver = clips[(index + 1) % count] if cross else clip
        pairs.append(Pair(clip[0], driver, None if cross else clip))
    return pairs


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pair with everything that no variant changes.

    Attributes:
        pair: What is animated.
        driver_poses: Detected in the driver, not aligned.
        motion: Aligned poses and the dense field.
        correspondence: Feature per body keypoint of the reference.
    """

    pair: Pair
    driver_poses: list[Frame]
    motion: MotionField
    correspondence: np.ndarray


def prepare(animator: Animator, pairs: Sequence[Pair]) -> list[Prepared]:
    """Stages ``pose``, ``motion`` and ``correspondence``.

    Pairs that cannot be aligned are left out, as a run would set them aside.
    """
    prepared = []
    for pair in pairs:
        found = animator.poses(pair.driver)
        rows, columns = pair.driver[0].shape[:2]
        try:
            motion = animator.motion(pair.reference, found, (rows, columns))
        except UnitError as error:
            logger.warning("a pair is left out: %s", error)
            continue
        features = animator.correspondence(pair.reference, motion)
        prepared.append(Prepared(pair, found, motion, features))
    return prepared


def animate(
    animator: Animator,
    prepared: Sequence[Prepared],
    parameters: SamplingParameters,
    guidance: Guidance,
) -> list[Animation]:
    """Stages ``sample`` and ``mux``."""
    return [
        animator(item.pair.reference, item.motion, item.correspondence, parameters, guidance)
        for item in prepared
    ]


def score(prepared: Sequence[Prepared], animations: Sequence[Animation]) -> Scores:
    """Scores of a set."""
    both = list(zip(prepared, animations, strict=True))
    others = [*prepared[1:], *prepared[:1]]
    true = [item for item in prepared if item.pair.truth is not None]
    images = [
        image
        for item, animation in both
        for image in zip(animation.frames, item.pair.truth or (), strict=False)
    ]
    return Scores(
        pck=_mean([_pck(p.motion, a.poses) for p, a in both]),
        pck_moved=_mean([_pck(p.motion, a.poses, moved=True) for p, a in both]),
        pck_shuffled=_mean(
            [_pck(o.motion, a.poses) for o, a in zip(others, animations, strict=True)]
        ),
        pck_still=_mean(
            [_pck(p.motion, [_reference_pose(p.motion)] * len(p.driver_poses)) for p in prepared]
        ),
        pck_truth=_mean([_pck(p.motion, p.driver_poses) for p in true]),
        psnr=_mean([psnr(frame, truth) for frame, truth in images]),
        ssim=_mean([ssim(frame, truth) for frame, truth in images]),
        colour=_mean([_colour_error(a, p, p) for p, a in both]),
        colour_shuffled=_mean(
            [_colour_error(a, p, o) for (p, a), o in zip(both, others, strict=True)]
        ),
    )


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _pck(motion: MotionField, found: Sequence[Frame], *, moved: bool = False) -> float:
    """PCK of poses against an aligned driver; nan if no keypoint counts.

    Args:
        motion: Of the driver.
        found: Per frame of it.
        moved: Only of keypoints that the reference has elsewhere.
    """
    points, visible = motion.body_track()
    aspect = motion.width / motion.height
    hits = []
    for index, pose in enumerate(found, start=1):
        asked = visible[index]
        if moved:
            asked = asked & visible[0] & far_keypoints(points[0], points[index], asked, aspect)
        hits.append(correct_keypoints(pose, points[index], visible[index], asked, aspect))
    flat = np.concatenate(hits)
    return float(flat.mean()) if len(flat) else math.nan


def _reference_pose(motion: MotionField) -> Frame:
    row = slice(int(motion.person[0]), int(motion.person[0]) + 1)
    found = motion.poses[0]
    return Frame(found.keypoints[row], found.scores[row], found.boxes[row], found.box_scores[row])


def _colour_error(animation: Animation, drawn: Prepared, wanted: Prepared) -> float:
    """Clothes of `drawn`'s output, read where its driver is, against `wanted`'s reference."""
    still, still_visible = body_of(wanted.motion.poses[0], int(wanted.motion.person[0]))
    colours = clothes_colours(wanted.pair.reference, still, still_visible)
    points, visible = drawn.motion.body_track()
    errors = [
        np.abs(clothes_colours(frame, points[index], visible[index]) - colours)
        for index, frame in enumerate(animation.frames, start=1)
    ]
    stacked = np.stack(errors)
    return float(np.nanmean(stacked)) if np.isfinite(stacked).any() else math.nan


def contact_sheet(prepared: Sequence[Prepared], animations: Sequence[Animation]) -> Image:
    """Per pair two rows: the reference, then driver over result for every frame."""
    rows = []
    for item, animation in zip(prepared, animations, strict=True):
        pair = item.pair
        blank = np.zeros_like(pair.reference)
        rows.append(np.concatenate([pair.reference, *pair.driver], axis=1))
        rows.append(np.concatenate([blank, *animation.frames], axis=1))
    return np.concatenate(rows)
