"""The worst pairs as pictures: reference, truth, and both fits over each other."""

from __future__ import annotations

import cv2
import numpy as np

from dispose_stages.motion.overlay import OFFICIAL, PROPORTIONS, REFERENCE, Image, overlay_skeletons
from tests.bench.bodies.measuring import fits
from tests.bench.bodies.observing import DETECTORS, observe
from tests.bench.bodies.pairs import CELLS, HEIGHT, WIDTH, make_pair
from tests.bench.bodies.table import Results

TRUTH = (90, 150, 255)
_SHARE, _COLUMNS = 0.05, 5
_WORST_OF = ("unlike, standing", "unlike, any pose")


def worst_pairs(results: Results, first: int, detector: str = "1 % noise") -> Image:
    """The worst twentieth of the whole unlike figures, worst first; the frame in the middle.

    White is the reference, blue the truth, red the official fit, green the fit by proportions.
    """
    errors = [
        (found.proportions["body"] - found.official["body"], cell, first + index)
        for cell in _WORST_OF
        for index, found in enumerate(results[cell, detector])
        if found is not None
    ]
    worst = sorted(errors, reverse=True)[: max(1, round(_SHARE * len(errors)))]
    tiles = [_picture(cell, seed, detector, gain) for gain, cell, seed in worst]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[i : i + _COLUMNS], 1) for i in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)


def _picture(cell: str, seed: int, detector: str, gain: float) -> Image:
    found = observe(make_pair(seed, CELLS[cell]), DETECTORS[detector], seed)
    official, placed, _ = fits(found)
    frame = len(found.driving) // 2
    seen, bodies = found.driving_seen[frame], [(found.reference, found.reference_seen, REFERENCE)]
    drawn = ((found.truth, TRUTH), (official, OFFICIAL), (placed, PROPORTIONS))
    for points, colour in drawn:
        shift = (found.truth - points)[found.driving_seen].mean(axis=0)
        bodies.append((points[frame] + shift, seen, colour))
    image = overlay_skeletons((HEIGHT, WIDTH), bodies)
    text = f"{seed} {cell.split(', ')[1]}: {gain:+.2f} heads"
    cv2.putText(image, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return np.asarray(cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
