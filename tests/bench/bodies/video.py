"""The same pairs through the whole pipeline: where the generated figure really is.

``python -m tests.bench.bodies.video --kept FILE`` animates figures with the shipped bundle, once
with each alignment, finds the figure in the result, and compares it with the known truth, as the
tables of ``tests.bench.bodies`` do with the aligned poses. Pairs that FILE holds are not made
again, so it may be stopped; in the end it prints the table of docs/bodies.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from tqdm import tqdm

from dispose_stages.artifacts import VISIBLE_SCORE, PoseTrack
from dispose_stages.config import load_config
from dispose_stages.errors import UnitError
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.training.animate import Animator, Pixels
from tests.bench.bodies.pairs import CELLS, HEIGHT, WIDTH, Cell, Pair, make_pair

_TARGET = (192, 128)
_EVERY = 4
"""Driving frames that are left out between two, for movement within two of the sampler's tiles."""
_FIRST = 200_000
_ALIGN = ("official", "proportions")
_CELLS = ("unlike, standing", "like")
HEADER = "| Video | pairs | official | proportions | ratio |\n|---|---|---|---|---|"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies.video", description=__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="per cell")
    parser.add_argument("--cell", choices=sorted(CELLS), action="append")
    parser.add_argument("--kept", type=Path, required=True, help="errors of the pairs done so far")
    options = parser.parse_args()
    options.kept.touch()
    lines = options.kept.read_text(encoding="utf-8").splitlines()
    done = {(cell, seed): errors for cell, seed, errors in map(json.loads, lines)}
    cells = options.cell or _CELLS
    wanted = [(cell, _FIRST + number) for cell in cells for number in range(options.pairs)]
    animators = [Animator(load_config({"parameters": {"align": align}})) for align in _ALIGN]
    with options.kept.open("a", encoding="utf-8", buffering=1) as file:
        for cell, seed in tqdm([pair for pair in wanted if pair not in done]):
            done[cell, seed] = _errors(animators, CELLS[cell], seed)
            file.write(json.dumps([cell, seed, done[cell, seed]]) + "\n")
    print(HEADER)
    for cell in cells:
        print(row(cell, [done[pair] for pair in wanted if pair[0] == cell]))


def row(cell: str, errors: Sequence[Sequence[float] | None]) -> str:
    """A line of the table: mean errors in head sizes, their ratio with its 95 % interval."""
    known = np.array([each for each in errors if each is not None])
    drawn = np.random.default_rng(0).integers(len(known), size=(2000, len(known)))
    sums = known[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], (0.025, 0.975))
    means = known.mean(axis=0)
    return (
        f"| {cell} | {len(known)} of {len(errors)} | {means[0]:.3f} | {means[1]:.3f} | "
        f"{means[1] / means[0]:.2f} [{low:.2f}, {high:.2f}] |"
    )


def _errors(animators: Sequence[Animator], cell: Cell, seed: int) -> tuple[float, float] | None:
    """Of both alignments; None where a pair is refused or the figure is not found."""
    pair = make_pair(seed, cell)
    still, moving = pair.scenes
    reference = cover_resize(still.render(0).image, *_TARGET)
    driver = [moving.render(frame).image for frame in range(0, len(moving), _EVERY)]
    driving = animators[0].poses(driver, 3.0)
    try:
        found = [_found(animator, reference, driving) for animator in animators]
    except UnitError as error:
        tqdm.write(f"{seed}: {error}")
        return None
    truth, _ = to_openpose(pair.truth[::_EVERY], np.ones((len(driver), 133)))
    scale = max(_TARGET[0] / HEIGHT, _TARGET[1] / WIDTH)
    wanted = truth[:, :18] * scale
    shown = np.logical_and.reduce([seen for _, seen in found])
    if shown.sum() < 0.3 * shown.size:
        return None
    first, second = (_error((points - wanted)[shown], pair, scale) for points, _ in found)
    return first, second


def _error(apart: Float64[np.ndarray, "n 2"], pair: Pair, scale: float) -> float:
    away = np.linalg.norm(apart - apart.mean(axis=0), axis=-1)
    return float(away.mean()) / (pair.head * scale)


def _found(
    animator: Animator, reference: Pixels, driving: PoseTrack
) -> tuple[Float64[np.ndarray, "f 18 2"], np.ndarray]:
    """Body keypoints of the generated figure, pixels, and which are seen."""
    field, features = animator.motion(reference, driving)
    frames = animator.animate(reference, field, features)
    poses = [animator.poses([frame])[0] for frame in frames]
    points = np.stack([pose.keypoints[0, :18] for pose in poses]) * (_TARGET[1], _TARGET[0])
    return points, np.stack([pose.scores[0, :18] > VISIBLE_SCORE for pose in poses])


if __name__ == "__main__":
    main()
