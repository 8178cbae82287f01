"""How unlike bodies look to the shipped pose network: the limit of what a video can show.

``python -m tests.bench.bodies.found`` finds the poses of pictures of standing figures and fits,
limb by limb, how far its length is found to be from the mean figure's by how far it is: 1 where
lengths are found as they are, 0 where every body looks like the mean one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dispose_stages.batch.stage import Context
from dispose_stages.config import load_config
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.retarget.limbs import LIMBS, with_centres
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.pose import stage as pose
from dispose_stages.store.artifacts import ArtifactStore
from tests.bench.bodies.pairs import CELLS, make_pair

_FIRST = 400_000
_TARGET = (192, 128)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies.found", description=__doc__)
    parser.add_argument("--figures", type=int, default=40, help="per kind")
    count = parser.parse_args().figures
    config = load_config({})
    store = ArtifactStore(Path(config.store))
    network = pose.load(Context(config, store, config.models.folder, "cpu", config.run_dir))
    print(f"| Found / true | {' | '.join(limb.name for limb in LIMBS)} |")
    print("|---" * (len(LIMBS) + 1) + "|")
    for cell in ("like", "unlike, standing"):
        true, found = [], []
        for seed in range(_FIRST, _FIRST + count):
            pair = make_pair(seed, CELLS[cell])
            image = cover_resize(pair.scenes[0].render(0).image, *_TARGET)
            frame = network.compute(image=image)[0]
            points, _ = to_openpose(pair.reference[None, :, :2].astype(float), np.ones((1, 133)))
            true.append(_lengths(points[0]))
            found.append(_lengths(frame.keypoints[0] * (_TARGET[1], _TARGET[0])))
        slopes = _slopes(np.array(true), np.array(found))
        print(f"| {cell} | {' | '.join(f'{slope:.2f}' for slope in slopes)} |")


def _lengths(points: Float64[np.ndarray, "134 2"]) -> Float64[np.ndarray, "l"]:
    """Logarithms of the limbs' lengths, means of both sides, as shares of all."""
    whole, _ = with_centres(points[None], np.ones((1, 134), dtype=bool))
    lengths = [
        np.mean([np.linalg.norm(whole[0, last] - whole[0, first]) for first, last in limb.ends])
        for limb in LIMBS
    ]
    return np.log(np.maximum(lengths, 1e-3) / np.sum(lengths))


def _slopes(
    true: Float64[np.ndarray, "n l"], found: Float64[np.ndarray, "n l"]
) -> Float64[np.ndarray, "l"]:
    true, found = true - true.mean(axis=0), found - found.mean(axis=0)
    return np.asarray((true * found).sum(axis=0) / (true**2).sum(axis=0))


if __name__ == "__main__":
    main()
