"""DisCo's evaluator, image by image, and Fréchet distances."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from dispose_stages.score import disco
from dispose_stages.score.frechet import FeatureMoments, frechet_distance
from tests.parity.case import Case, Check, Family

_TOLERANCE = {"l1": 1e-9, "psnr": 1e-9, "ssim": 1e-6}
_MEASURES = {"l1": disco.l1, "psnr": disco.psnr, "ssim": disco.ssim}


def _relative(actual: np.ndarray | float, expected: np.ndarray | float) -> float:
    got, wanted = np.asarray(actual), np.asarray(expected)
    if got.shape != wanted.shape:
        return float("inf")
    scale = np.maximum(np.abs(wanted), np.finfo(np.float64).tiny)
    return float((np.abs(got - wanted) / scale).max(initial=0.0))


def _at_size(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The result, resized bilinearly where its size differs."""
    height, width = truth.shape[:2]
    if result.shape[:2] == (height, width):
        return result
    return cv2.resize(result, (width, height), interpolation=cv2.INTER_LINEAR)


def replay_images(case: Case) -> Iterator[Check]:
    """Pairs of frames, whatever their sizes; the generated one is brought to the true one's."""
    truth, generated = case["gt_rgb_u8"], case["generated_rgb_u8"]
    for name, measure in _MEASURES.items():
        values = np.array(
            [
                measure(_at_size(result, wanted), wanted)
                for result, wanted in zip(generated, truth, strict=True)
            ]
        )
        yield Check(name, _relative(values, case[name]), _TOLERANCE[name])
        mean = f"{name}_mean"
        yield Check(mean, _relative(values.mean(), case[mean]), _TOLERANCE[name])


def replay_frechet(case: Case) -> Iterator[Check]:
    """Two samples; where one is smaller than the dimension, the recorded root is regularised."""
    generated, truth = case["features_generated"], case["features_truth"]
    singular = min(len(generated), len(truth)) <= generated.shape[1]
    distance = frechet_distance(FeatureMoments.of(generated), FeatureMoments.of(truth))
    yield Check("frechet", _relative(distance, case["frechet"]), 1e-3 if singular else 1e-6)


FAMILIES = [
    Family("metrics/image_*", replay_images),
    Family("metrics/frechet_*", replay_frechet),
]
