"""Quality of a bundle on figures and motions it has not seen (docs/quality.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dispose_stages.artifacts import Frame
from dispose_stages.errors import UnitError
from dispose_stages.sample.clip import SamplingParameters
from dispose_stages.train.animate import Animation, Animator, Guidance, Image, body_of
from dispose_stages.train.clips import Clip, clip_scene, render_clip
from dispose_stages.train.metrics import clothes_colours, correct_keypoints, psnr, ssim

VARIANTS: Mapping[str, Guidance] = {
    "full": Guidance(),
    "no motion": Guidance(motion=False),
    "no correspondence": Guidance(correspondence=False),
    "base": Guidance(motion=False, correspondence=False),
}
"""Full DisPose and its ablations."""
HELD_OUT = 9_000_000
"""Seed of the first held-out clip; training uses seeds far below."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all clips of a set; nan where a score is not defined.

    Attributes:
        pck: Keypoints of the aligned driver found in the right place in the output.
        pck_shuffled: The same against the driver of another clip: what chance gives.
        pck_still: The same of the reference, unmoved: what following has to beat.
        psnr: Against the rendered truth, dB (self-driving only).
        ssim: Likewise.
        colour: Mean absolute RGB error of the clothes against the reference, in [0, 1].
        colour_shuffled: The same against another clip's reference.
    """

    pck: float
    pck_shuffled: float
    pck_still: float
    psnr: float
    ssim: float
    colour: float
    colour_shuffled: float

    def row(self, name: str) -> str:
        """One line of a Markdown table."""
        cells = [f"{value:.3f}" for value in asdict(self).values()]
        return f"| {name} | {' | '.join(cells)} |"


HEADER = (
    "| variant | PCK@0.1 | shuffled driver | still reference | PSNR dB | SSIM "
    "| colour error | other's colour |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and a driver; `truth` where the driver shows the reference's own figure."""

    reference: Image
    driver: Sequence[Image]
    truth: Sequence[Image] | None


def held_out_pairs(
    count: int, *, cross: bool, frames: int = 6, height: int = 192, width: int = 128
) -> list[Pair]:
    """Pairs of figures and motions that no training has seen.

    Args:
        count: How many.
        cross: Each reference is driven by the next clip's figure; else by its own.
        frames: Of a clip, the reference included.
        height: Of the images, pixels.
        width: Likewise.
    """
    clips = [_held_out_clip(i, frames, height, width) for i in range(count)]
    pairs = []
    for index, clip in enumerate(clips):
        driver = clips[(index + 1) % count] if cross else clip
        shown = list(driver.images[1:])
        pairs.append(Pair(clip.images[0], shown, None if cross else shown))
    return pairs


def _held_out_clip(index: int, frames: int, height: int, width: int) -> Clip:
    return render_clip(clip_scene(HELD_OUT + index, frames=frames, height=height, width=width))


def animate_pairs(
    animator: Animator,
    pairs: Sequence[Pair],
    parameters: SamplingParameters,
    guidance: Guidance,
) -> list[Animation | None]:
    """Every pair's animation; None where the pair cannot be aligned."""
    animations: list[Animation | None] = []
    for pair in pairs:
        try:
            motion = animator.motion(pair.reference, pair.driver)
        except UnitError:
            animations.append(None)
            continue
        correspondence = animator.correspondence(pair.reference, motion)
        animations.append(animator(pair.reference, motion, correspondence, parameters, guidance))
    return animations


def score(pairs: Sequence[Pair], animations: Sequence[Animation | None]) -> Scores:
    """Scores of a set; pairs that could not be aligned are left out."""
    kept = [(p, a) for p, a in zip(pairs, animations, strict=True) if a is not None]
    others = kept[1:] + kept[:1]
    own = [_pck(a, a) for _, a in kept]
    shuffled = [_pck(a, b) for (_, a), (_, b) in zip(kept, others, strict=True)]
    truths = [(p.truth, a) for p, a in kept if p.truth is not None]
    images = [(f, t) for truth, a in truths for f, t in zip(a.frames, truth, strict=True)]
    colour = [_colour_error(a, p, a) for p, a in kept]
    other = [_colour_error(a, p, b) for (_, a), (p, b) in zip(kept, others, strict=True)]
    return Scores(
        pck=_mean(own),
        pck_shuffled=_mean(shuffled),
        pck_still=_mean([_still_pck(a) for _, a in kept]),
        psnr=_mean([psnr(f, t) for f, t in images]),
        ssim=_mean([ssim(f, t) for f, t in images]),
        colour=_mean(colour),
        colour_shuffled=_mean(other),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if len(values) else float("nan")


def _pck(animation: Animation, driver: Animation) -> float:
    """PCK of an output against the aligned driver of `driver`."""
    points, visible = driver.motion.body_track()
    height, width = animation.frames.shape[1:3]
    hits = [
        correct_keypoints(found, points[index], visible[index], width / height)
        for index, found in enumerate(animation.poses, start=1)
    ]
    return float(np.concatenate(hits).mean())


def _still_pck(animation: Animation) -> float:
    """PCK of the reference's own pose, as if nothing had moved."""
    motion = animation.motion
    points, visible = motion.body_track()
    row = slice(int(motion.person[0]), int(motion.person[0]) + 1)
    found = motion.poses[0]
    still = Frame(found.keypoints[row], found.scores[row], found.boxes[row], found.box_scores[row])
    aspect = motion.width / motion.height
    hits = [
        correct_keypoints(still, points[index], visible[index], aspect)
        for index in range(1, len(points))
    ]
    return float(np.concatenate(hits).mean())


def _colour_error(animation: Animation, pair: Pair, owner: Animation) -> float:
    """Clothes of an output, read where the driver is, against `pair`'s reference."""
    still, still_visible = body_of(owner.motion.poses[0], int(owner.motion.person[0]))
    wanted = clothes_colours(pair.reference, still, still_visible)
    points, visible = animation.motion.body_track()
    errors = [
        np.abs(clothes_colours(frame, points[index], visible[index]) - wanted)
        for index, frame in enumerate(animation.frames, start=1)
    ]
    stacked = np.stack(errors)
    return float(np.nanmean(stacked)) if np.isfinite(stacked).any() else float("nan")


def contact_sheet(pairs: Sequence[Pair], animations: Sequence[Animation | None]) -> Image:
    """Per pair a row: reference, then driver over result for every frame."""
    rows = []
    for pair, animation in zip(pairs, animations, strict=True):
        if animation is None:
            continue
        size = animation.frames.shape[1:3]
        blank = np.zeros((*size, 3), dtype=np.uint8)
        top = np.concatenate([pair.reference, *pair.driver], axis=1)
        bottom = np.concatenate([blank, *animation.frames], axis=1)
        rows += [top, bottom]
    return np.concatenate(rows)
