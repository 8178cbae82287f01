"""The same pairs through the whole pipeline: what becomes of the generated figure.

``python -m tests.bench.bodies.video --kept FILE --write docs`` animates figures with the shipped
bundle, once with each alignment, and compares the result with the rendered truth: the reference
in the driver's poses. Poses are the world's own (``exact``), since the bundle's pose network sees
unlike bodies as more usual than they are (`tests.bench.bodies.found`), or those that it finds
(``found``), as in a run. Pairs that FILE holds are not made again, so it may be stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64
from tqdm import tqdm

from dispose_stages.artifacts import BODY_KEYPOINTS, Frame, MotionField, PoseTrack
from dispose_stages.benchmark.document import replace_part
from dispose_stages.config import load_config
from dispose_stages.errors import UnitError
from dispose_stages.geometry.frames import cover_resize, cover_size, crop_offset
from dispose_stages.score.keypoints import FoundPose, WantedPose
from dispose_stages.score.similarity import psnr
from dispose_stages.training.animate import Animator, Pixels
from dispose_stages.training.metrics import figure_regions
from dispose_stages.wording import markdown_table
from tests.bench.bodies.observing import DETECTORS, Observed, observe
from tests.bench.bodies.pairs import CELLS, FRAMES, HEIGHT, WIDTH, Pair, make_pair
from tests.bench.size import size

_TARGET = (192, 128)
_SIZE = cover_size(HEIGHT, WIDTH, *_TARGET)
_CROP = np.array([crop_offset(_SIZE[1], _TARGET[1]), crop_offset(_SIZE[0], _TARGET[0])])
_SCALE = _SIZE[0] / HEIGHT
_EVERY = 4
"""One driving frame of so many, for movement within two of the sampler's tiles."""
_FIRST = 200_000
_ALIGN = ("official", "proportions")
_CELLS = ("unlike, standing", "unlike, any pose", "like")
_POSES = ("exact", "found")
_FEWEST = 0.3
"""Share of the body's keypoints that both results must show."""
PAIRS = size(40, 1)
Values = list[list[float]] | None
"""Of a pair, both alignments: distance of body keypoints in head sizes, PSNR inside in dB; None
where it is refused, or the figure is not found in a result."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies.video", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="per row of the table")
    parser.add_argument("--cell", choices=sorted(CELLS), action="append")
    parser.add_argument("--poses", choices=_POSES, action="append")
    parser.add_argument("--kept", type=Path, required=True, help="values of the pairs done so far")
    parser.add_argument("--write", type=Path, help="folder of bodies.md")
    options = parser.parse_args(arguments)
    options.kept.touch()
    lines = map(json.loads, options.kept.read_text(encoding="utf-8").splitlines())
    done: dict[tuple[str, str, int], Values] = {(p, c, seed): v for p, c, seed, v in lines}
    kinds = [(p, c) for p in options.poses or _POSES for c in options.cell or _CELLS]
    wanted = [(*kind, _FIRST + number) for kind in kinds for number in range(options.pairs)]
    config = {"compute": {"device": "cpu"}}
    animators = [Animator(load_config(config | {"parameters": {"align": a}})) for a in _ALIGN]
    with options.kept.open("a", encoding="utf-8", buffering=1) as file:
        for key in tqdm([key for key in wanted if key not in done]):
            done[key] = values(animators, *key)
            file.write(json.dumps([*key, done[key]]) + "\n")
    text = table({kind: [done[key] for key in wanted if key[:2] == kind] for kind in kinds})
    print(text)
    if options.write:
        document = options.write / "bodies.md"
        replace_part(document, "video", text)


def table(measured: dict[tuple[str, str], list[Values]]) -> str:
    """Markdown: means, the ratio or the difference of the alignments, 95 % intervals by pair."""
    heads = ("pairs", *(f"keypoints, {a}" for a in _ALIGN), "ratio")
    heads += (*(f"PSNR inside, {a}" for a in _ALIGN), "difference")
    rows = []
    for (poses, cell), found in measured.items():
        known = np.array([each for each in found if each is not None])
        drawn = np.random.default_rng(0).integers(len(known), size=(2000, len(known)))
        (away, plain), (nearer, fitted) = known.mean(axis=0)
        (aways, plains), (nearers, fits) = known[drawn].mean(axis=1).transpose(1, 2, 0)
        row = (
            f"{poses}, {cell}",
            f"{len(known)} of {len(found)}",
            *(f"{value:.3f}" for value in (away, nearer)),
            _with_interval(nearer / away, nearers / aways, ".2f"),
            *(f"{value:.2f}" for value in (plain, fitted)),
            _with_interval(fitted - plain, fits - plains, "+.2f"),
        )
        rows.append(row)
    return markdown_table(["Poses, bodies", *heads], rows)


def _with_interval(value: float, drawn: Float64[np.ndarray, "r"], shape: str) -> str:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{value:{shape}} [{low:{shape}}, {high:{shape}}]"


def values(animators: Sequence[Animator], poses: str, cell: str, seed: int) -> Values:
    """Of one pair; the truth lies where each alignment leaves it, so a constant offset is free."""
    pair = make_pair(seed, CELLS[cell])
    moving = pair.scenes[1]
    driver = [moving.render(frame).image for frame in range(0, FRAMES, _EVERY)]
    reference = cover_resize(pair.scenes[0].render(0).image, *_TARGET)
    seen = observe(pair, DETECTORS["exact"], seed)
    still, driving = _true_poses(seen)
    if poses == "found":
        still, driving = None, animators[0].poses(driver)
    try:
        fields = [animator.motion(reference, driving, still) for animator in animators]
    except UnitError as error:
        tqdm.write(f"{seed}: {error}")
        return None
    clips = [a.animate(reference, *field) for a, field in zip(animators, fields, strict=True)]
    found = [FoundPose.of(animators[0].poses(list(clip))) for clip in clips]
    shown = np.logical_and.reduce([each.visible[:, BODY_KEYPOINTS] for each in found])
    if shown.mean() < _FEWEST:
        return None
    truth = seen.truth[::_EVERY] * _SCALE - _CROP
    return [
        [
            _away(each.points[:, BODY_KEYPOINTS], truth[:, BODY_KEYPOINTS], shown)
            / (pair.head * _SCALE),
            _likeness(clip, pair, _offset(field, truth)),
        ]
        for clip, (field, _), each in zip(clips, fields, found, strict=True)
    ]


def _true_poses(seen: Observed) -> tuple[PoseTrack, PoseTrack]:
    """Reference, at target size, and driver, as the world has them."""
    still = (seen.reference[None] * _SCALE - _CROP) / _TARGET[::-1]
    moving = seen.driving[::_EVERY] / (WIDTH, HEIGHT)
    return (
        _track(still, seen.reference_seen[None], *_TARGET),
        _track(moving, seen.driving_seen[::_EVERY], HEIGHT, WIDTH),
    )


def _track(
    points: Float64[np.ndarray, "f 134 2"], seen: np.ndarray, height: int, width: int
) -> PoseTrack:
    box = np.array([[0.0, 0.0, width, height]])
    frames = [
        Frame(each[None], np.where(there, 0.9, 0.1)[None], box, np.ones(1))
        for each, there in zip(points, seen, strict=True)
    ]
    return PoseTrack.from_frames(frames, list(range(len(frames))), height, width, 0.0)


def _away(
    points: Float64[np.ndarray, "f 18 2"], truth: Float64[np.ndarray, "f 18 2"], shown: np.ndarray
) -> float:
    apart = (points - truth)[shown]
    return float(np.linalg.norm(apart - apart.mean(axis=0), axis=-1).mean())


def _offset(field: MotionField, truth: Float64[np.ndarray, "f 134 2"]) -> Float64[np.ndarray, "2"]:
    """From the truth to where the aligned driver is, pixels."""
    wanted = WantedPose.of(field.poses, field.person)
    body = wanted.visible[1:, BODY_KEYPOINTS]
    return (wanted.points[1:, BODY_KEYPOINTS] - truth[:, BODY_KEYPOINTS])[body].mean(axis=0)


def _likeness(clip: Pixels, pair: Pair, offset: Float64[np.ndarray, "2"]) -> float:
    """Mean PSNR over the pixels of the figure in the truth, moved by an offset."""

    def placed(image: Pixels) -> Pixels:
        move = np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]])
        return np.asarray(
            cv2.warpAffine(
                cover_resize(image, *_TARGET), move, _TARGET[::-1], flags=cv2.INTER_LINEAR
            )
        )

    found = []
    for shown, frame in zip(clip, range(0, FRAMES, _EVERY), strict=True):
        figure, _, _ = figure_regions(pair.painted.covered(frame))
        inside = placed(np.dstack([255 * figure.astype(np.uint8)] * 3))[..., 0] > 127
        found.append(psnr(shown, placed(pair.painted.render(frame).image), inside))
    return float(np.mean(found))


if __name__ == "__main__":
    main()
