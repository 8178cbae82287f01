"""The same pairs through the whole pipeline: where the generated figure really is.

``python -m tests.bench.bodies.video`` animates unlike figures with the shipped bundle, once with
each alignment, finds the figure in the result, and compares it with the known truth, as the tables
of ``tests.bench.bodies`` do with the aligned poses.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from jaxtyping import Float64

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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies.video", description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--cell", choices=sorted(CELLS), default="unlike, standing")
    options = parser.parse_args()
    animators = {align: Animator(load_config({"parameters": {"align": align}})) for align in _ALIGN}
    rows = []
    for seed in range(_FIRST, _FIRST + options.pairs):
        errors = _errors(animators, CELLS[options.cell], seed)
        if errors is not None:
            rows.append(errors)
            means = np.mean(rows, axis=0)
            print(f"{len(rows)}: {means[0]:.3f} {means[1]:.3f} heads", file=sys.stderr)
    print(_summary(np.array(rows), options.pairs))


def _summary(errors: Float64[np.ndarray, "n 2"], wanted: int) -> str:
    drawn = np.random.default_rng(0).integers(len(errors), size=(2000, len(errors)))
    sums = errors[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], (0.025, 0.975))
    ratio, means = errors[:, 1].sum() / errors[:, 0].sum(), errors.mean(axis=0)
    return (
        f"{len(errors)} of {wanted} pairs: error in the video {means[0]:.3f} heads (official), "
        f"{means[1]:.3f} (proportions), ratio {ratio:.2f} [{low:.2f}, {high:.2f}]"
    )


def _errors(animators: dict[str, Animator], cell: Cell, seed: int) -> tuple[float, float] | None:
    """Of both alignments; None where a pair is refused or the figure is not found."""
    pair = make_pair(seed, cell)
    still, moving = pair.scenes
    reference = cover_resize(still.render(0).image, *_TARGET)
    driver = [moving.render(frame).image for frame in range(0, len(moving), _EVERY)]
    driving = animators["official"].poses(driver, 3.0)
    try:
        found = [_found(animator, reference, driving) for animator in animators.values()]
    except UnitError as error:
        print(f"{seed}: {error}", file=sys.stderr)
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
