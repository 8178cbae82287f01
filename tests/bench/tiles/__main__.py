"""What the sampler's tiles do to long videos: ``python -m tests.bench.tiles [--write docs]``.

Figures that no training has seen drive themselves, so that every frame's truth is known; the
shipped bundle animates them with the pipeline's defaults. Seams and drift are those of `score`,
less the truth's own. About a second of one core per frame.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dispose_stages.benchmark.document import replace_part
from dispose_stages.config import load_config
from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.score.clip import FramePair, clip_values, scan_clip
from dispose_stages.score.keypoints import FoundPose
from dispose_stages.score.temporal import seam, tile_borders
from dispose_stages.training.animate import Animator
from dispose_stages.training.quality import HeldOut, held_out_pairs, pck
from dispose_stages.wording import markdown_table
from tests.bench.size import size

logger = logging.getLogger(__name__)
LENGTHS = size({50: 4, 200: 2, 1000: 1}, {9: 1})
"""Driving frames to number of videos."""
MEASURES = {
    "PSNR dB": "{:.2f}",
    "PCK@0.1": "{:.3f}",
    "flicker excess": "{:.4f}",
    "seam of tiles": "{:+.4f}",
    "seam of tiles, warping error": "{:+.4f}",
    "seam of decoding": "{:+.4f}",
    "drift of colour": "{:.4f}",
    "drift of sharpness": "{:+.3f}",
}
_RESAMPLES = 2000
Row = Mapping[str, float]


def measure(
    animator: Animator, pair: HeldOut, frames: UInt8[np.ndarray, "f h w 3"]
) -> dict[str, float]:
    """What `score` says of a clip whose truth is the driver."""
    parameters = animator.config.parameters
    tiles = plan_tiles(len(frames) + 1, parameters.tile_size, parameters.tile_overlap)
    borders = tile_borders(tiles)
    # Step `s` leads to frame `s + 2` of the clip, which the reference opens.
    chunks = (np.arange(len(borders)) + 2) % parameters.decode_chunk_size == 0
    pairs = (FramePair(r, t) for r, t in zip(frames, pair.driver, strict=True))
    scanned = scan_clip(pairs, ("correct",), threads=1)
    values = clip_values(scanned, borders)
    excess = scanned["flicker_excess"][1:]  # the figure's movement may keep time with the tiles
    _, wanted = pair.poses()
    found = FoundPose.of(animator.poses(list(frames)))
    return {
        "PSNR dB": values["psnr"],
        "PCK@0.1": pck(found.points, found.visible, wanted),
        "flicker excess": values["flicker_excess"],
        "seam of tiles": seam(excess, borders).excess,
        "seam of tiles, warping error": values["seam_warping_error"],
        "seam of decoding": seam(excess, chunks).excess,
        "drift of colour": values["drift_colour"],
        "drift of sharpness": values["drift_sharpness"],
    }


def rows(animator: Animator, count: int, frames: int) -> list[dict[str, float]]:
    """Of every video of that length."""
    found = []
    for pair in held_out_pairs(animator, count, cross=False, frames=frames):
        clip = animator.animate(pair.reference, pair.motion, pair.features)
        found.append(measure(animator, pair, clip))
        logger.info("%d frames: %s", frames, found[-1])
    return found


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Of the mean, 95 %, by bootstrap over videos; None for fewer than three."""
    if len(values) < 3:
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(np.array(values)[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def table(measured: Mapping[str, Sequence[Row]]) -> str:
    """Markdown: a row per length, means and intervals."""
    rows = []
    for frames, found in measured.items():
        cells = [_cell(shape, [row[name] for row in found]) for name, shape in MEASURES.items()]
        rows.append([f"{int(frames):,}", str(len(found)), *cells])
    return markdown_table(["frames", "videos", *MEASURES], rows)


def _cell(shape: str, values: Sequence[float]) -> str:
    bounds = interval(values)
    mean = shape.format(np.mean(values))
    return mean if bounds is None else f"{mean} [{', '.join(map(shape.format, bounds))}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tiles", description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--context", type=int, default=0, help="decode_context")
    parser.add_argument("--json", type=Path, help="keeps figures; lengths in it are not redone")
    parser.add_argument("--write", type=Path, help="folder of quality.md")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    measured: dict[str, Sequence[Row]] = {}
    if options.json and options.json.exists():
        measured = json.loads(options.json.read_text())
    settings = {"compute": {"device": "cpu"}, "parameters": {"decode_context": options.context}}
    animator = Animator(load_config(settings))
    for frames in options.frames:
        if str(frames) not in measured:
            measured[str(frames)] = rows(animator, LENGTHS[frames], frames)
        if options.json:
            options.json.write_text(json.dumps(measured, indent=2) + "\n")
    text = table(measured)
    print(text)
    if options.write:
        document = options.write / "quality.md"
        replace_part(document, "tiles", text)


if __name__ == "__main__":
    main()
