"""What guidance is worth after a whole sampling: motley held-out pairs, in every variant.

The counterpart of `dispose_stages.training.judge`, which looks at single steps. Everything runs
through the stages' own ``compute``; what no variant changes is computed once (docs/quality.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from dispose_stages.artifacts import MotionField
from dispose_stages.atomic import write_text
from dispose_stages.sample.clip import ClipInputs
from dispose_stages.score.keypoints import FoundPose, WantedPose
from dispose_stages.score.similarity import Mask, psnr
from dispose_stages.score.statistics import estimate
from dispose_stages.score.truth import aligned_frame
from dispose_stages.training.animate import Animator, Pixels
from dispose_stages.training.clip_store import ArrayStore, ClipStore
from dispose_stages.training.judge import (
    BASE,
    OTHERS_EMBEDDING,
    OTHERS_MOTION,
    REFERENCE,
    held_out_clips,
)
from dispose_stages.training.metrics import colour_errors, figure_regions
from dispose_stages.training.quality import HELD_OUT, Clip, mean, pck, pipeline_config
from dispose_stages.training.settings import TrainSettings
from dispose_stages.wording import markdown_table

logger = logging.getLogger(__name__)

FIRST_SEED = HELD_OUT + 2_000
"""Of the clips; neither the single steps nor the tables and pictures of quality have them."""
TOGETHER = 4
"""Pairs that lend one another their guidance."""
VARIANTS: Mapping[str, Callable[[ClipInputs], Mapping[str, Any]]] = {
    REFERENCE: lambda _: {},
    OTHERS_MOTION: lambda other: {"fields": other.fields},
    OTHERS_EMBEDDING: lambda other: {"correspondence": other.correspondence},
    "no motion": lambda _: {"fields": None},
    "no correspondence": lambda _: {"correspondence": None},
    BASE: lambda _: {"fields": None, "correspondence": None},
}
"""What is compared: what of a pair's own inputs is replaced, given another pair's."""
_HALF = 127
"""Of a moved mask's values."""
MEASURES = ("PSNR inside, dB", "colour error of limbs", "where limbs cross", "PCK@0.1")


def score_pairs(animator: Animator, clips: ClipStore) -> Float64[np.ndarray, "n variants measures"]:
    """`MEASURES` of every clip, its frame 0 driven by the others, in every variant; resumable.

    Args:
        clips: Rendered; the scores are kept beside them.
    """
    store, count = ArrayStore(clips.folder, "scores"), clips.sizes.count
    scores = store.array("scores", (count, len(VARIANTS), len(MEASURES)), np.float64)

    def make(rows: slice) -> None:
        numbers = range(rows.start, rows.stop)
        pairs = [_prepare(animator, clips.images[number]) for number in numbers]
        for number, pair, other in zip(numbers, pairs, [*pairs[1:], pairs[0]], strict=True):
            outputs = _animate(animator, pair[0], other[0])
            scores[number] = _score(animator, clips, number, outputs, pair[1])
            logger.info("%d of %d pairs judged", number + 1, count)

    store.fill_up(count, make, chunk=TOGETHER)
    return np.array(scores)


def _prepare(animator: Animator, clip: Clip) -> tuple[dict[str, Any], MotionField]:
    """What the sampler reads of a clip whose frame 0 the others drive, and their alignment."""
    field, features = animator.motion(clip[0], animator.poses(list(clip[1:])))
    return animator.inputs(clip[0], field, features), field


def _animate(animator: Animator, own: dict[str, Any], other: dict[str, Any]) -> Iterator[Clip]:
    for change in VARIANTS.values():
        changed = replace(own["inputs"], **change(other["inputs"]))
        yield animator.frames(**own | {"inputs": changed})


def _score(
    animator: Animator, clips: ClipStore, number: int, outputs: Iterable[Clip], field: MotionField
) -> list[list[float]]:
    """`MEASURES` of each output of a clip, against the truth moved as the driver's poses were."""
    truth, regions = _truth(clips, number, field)
    wanted = WantedPose.of(field.poses, field.person)
    wanted = WantedPose(wanted.points[1:], wanted.visible[1:])
    rows = []
    for output in outputs:
        found = FoundPose.of(animator.poses(list(output)))
        inside, limbs, crossing = [], [], []
        for frame, true, (figure, shown, hiding) in zip(output, truth, regions, strict=True):
            inside.append(psnr(frame, true, figure))
            limbs += colour_errors(frame, true, shown)
            crossing += colour_errors(frame, true, hiding)
        rows.append(
            [*map(mean, (inside, limbs, crossing)), pck(found.points, found.visible, wanted)]
        )
    return rows


def _truth(
    clips: ClipStore, number: int, field: MotionField
) -> tuple[list[Pixels], list[tuple[Mask, list[Mask], list[Mask]]]]:
    """Driving frames of a clip and their `figure_regions`, both moved by the alignment."""
    scene = clips.sizes.scene(number)

    def moved(image: Pixels) -> Pixels:
        place = {"scale": field.scale, "shift": field.shift}
        return aligned_frame(image, **place, height=field.height, width=field.width)[0]

    def covered(frame: int) -> dict[str, Mask]:
        masks = scene.covered(frame)
        return {
            name: moved(np.dstack([255 * mask.astype(np.uint8)] * 3))[..., 0] > _HALF
            for name, mask in masks.items()
        }

    frames = range(1, clips.sizes.frames)
    truth = [moved(clips.images[number, frame]) for frame in frames]
    return truth, [figure_regions(covered(frame)) for frame in frames]


def judge_sampling(settings: TrainSettings) -> str:
    """Judge the bundle; returns a Markdown table, also written to ``judge_sampling.md``."""
    clips = held_out_clips(
        settings,
        count=settings.sampled_clips,
        frames=settings.clips.frames,
        first_seed=FIRST_SEED,
        motley=1.0,
    )
    text = table(score_pairs(Animator(pipeline_config(settings)), clips))
    write_text(settings.folder / "judge_sampling.md", text)
    return text


def table(scores: Float64[np.ndarray, "n variants measures"]) -> str:
    """Markdown: full DisPose's own measures, then every other variant's difference to them.

    Differences are paired; intervals are those of a bootstrap over pairs.
    """
    full = scores[:, :1]
    compared = np.concatenate([full, scores[:, 1:] - full], axis=1).swapaxes(0, 1)
    found = [[estimate(values) for values in row.T] for row in compared]
    heads = [f"{m} ({e.count} pairs)" for m, e in zip(MEASURES, found[0], strict=True)]
    rows = []
    for name, row in zip(VARIANTS, found, strict=True):
        sign = "" if name == REFERENCE else "+"
        cells = [f"{e.mean:{sign}.3f} [{e.low:{sign}.3f}, {e.high:{sign}.3f}]" for e in row]
        rows.append([name, *cells])
    return markdown_table(["variant", *heads], rows)
