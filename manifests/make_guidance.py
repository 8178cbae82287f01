# ruff: noqa: INP001 - a script beside its data, no package
"""Show what the guidance does: the same held-out pairs with it, with another's, and without.

Run from the repository's root::

    python manifests/make_guidance.py docs/guidance.png

Every pair is a motley figure (a colour for every limb) that nothing was trained on, and a movement
of the same figure that does not start at the reference. All stages of the pipeline run with their
defaults for the small bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dispose_stages.training.animate import Animator
from dispose_stages.training.clips import clip_scene, render_clip
from dispose_stages.training.quality import HELD_OUT, pipeline_config
from dispose_stages.training.settings import load_settings

HEIGHT, WIDTH, FRAMES, SHOWN = 192, 128, 6, 3
"""Of the images, of a clip with its reference, and which driving frame is seen."""
GAP, LINE = 6, 16
"""White pixels between pictures, and above them for the text."""

COLUMNS = ("reference", "driver", "full", "another's features", "no correspondence", "base")
"""Another's are those of the pair above, the first pair's those of the last."""

Picture = UInt8[np.ndarray, "h w 3"]


def pictures(animator: Animator, seeds: Sequence[int]) -> list[list[Picture]]:
    """Per pair: reference, driver, and the result of every variant."""
    pairs = []
    for seed in seeds:
        scene = clip_scene(seed, frames=FRAMES, height=HEIGHT, width=WIDTH, motley=1.0)
        reference, *driver = render_clip(scene)[0]
        pairs.append((reference, driver, *animator.motion(reference, animator.poses(driver))))
    rows = []
    for number, (reference, driver, field, features) in enumerate(pairs):
        others = pairs[number - 1][-1]
        results = [
            animator.animate(reference, field, features),
            animator.animate(reference, field, others),
            animator.animate(reference, field, features, correspondence_guidance=False),
            animator.animate(
                reference, field, features, motion_guidance=False, correspondence_guidance=False
            ),
        ]
        rows.append([reference, driver[SHOWN], *(result[SHOWN] for result in results)])
    return rows


def sheet(rows: list[list[Picture]], scale: int) -> Image.Image:
    """All pictures, with a line of text above the columns."""
    padded = [
        np.concatenate(
            [np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for p in row], 1
        )
        for row in rows
    ]
    stacked = Image.fromarray(np.concatenate(padded))
    stacked = stacked.resize(
        (scale * stacked.width, scale * stacked.height), Image.Resampling.LANCZOS
    )
    whole = Image.new("RGB", (stacked.width, stacked.height + LINE), "white")
    whole.paste(stacked, (0, LINE))
    draw = ImageDraw.Draw(whole)
    for column, name in enumerate(COLUMNS):
        draw.text((column * scale * (WIDTH + GAP) + 2, 2), name, fill="black")
    return whole


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--first", default=1000, show_default=True, help="Number of the first pair.")
@click.option("--pairs", default=3, show_default=True, help="How many pairs.")
def main(output: Path, first: int, pairs: int) -> None:
    """Write OUTPUT."""
    animator = Animator(pipeline_config(load_settings(Path("config/train.yaml"))))
    rows = pictures(animator, [HELD_OUT + first + index for index in range(pairs)])
    sheet(rows, scale=1).save(output)


if __name__ == "__main__":
    main()
