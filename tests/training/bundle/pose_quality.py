"""How well a pose pair finds procedural figures, through the pipeline's own pose code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_pose
from dispose_stages.training.world.scene import OUTSIDE, VISIBLE, RenderedFrame
from dispose_stages.weights.loading.dwpose import open_network

PARTS = {
    "body": slice(0, 18),
    "feet": slice(18, 24),
    "face": slice(24, 92),
    "hands": slice(92, 134),
}


@dataclass(frozen=True)
class Quality:
    """Shares between 0 and 1.

    Attributes:
        detected: Figures with a detection that overlaps by half or more.
        false: Detections that belong to no figure, per figure.
        pck: Keypoints inside the image within a tenth of the box height, per part.
        pck_fine: The same within a fiftieth.
        scored: Visible keypoints whose score is above 0.3, per part.
        outside_scored: Keypoints outside the image whose score is above 0.3.
    """

    detected: float
    false: float
    pck: dict[str, float]
    pck_fine: dict[str, float]
    scored: dict[str, float]
    outside_scored: float


def open_pair(folder: Path) -> PoseNetworks:
    """Both networks of a ``dwpose`` folder on the CPU."""
    detector = open_network(folder / "yolox_l.onnx", device="cpu", allow_cpu=True, threads=1)
    head = open_network(folder / "dw-ll_ucoco_384.onnx", device="cpu", allow_cpu=True, threads=1)
    return PoseNetworks(
        detector=lambda images: detector(images)[0],
        estimator=lambda crops: (head(crops)[0], head(crops)[1]),
        detector_size=detector.input_size,
        estimator_size=head.input_size,
    )


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def measure(frames: Iterable[RenderedFrame], networks: PoseNetworks) -> Quality:
    """Detect and compare with the truth."""
    detected, false, figures = 0, 0, 0
    distances: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    flags: list[np.ndarray] = []
    for frame in frames:
        found = extract_pose(frame.image, networks)
        size = np.array([frame.image.shape[1], frame.image.shape[0]])
        matched: set[int] = set()
        for box, truth in zip(frame.boxes, frame.keypoints, strict=True):
            figures += 1
            person = _matching(found, box)
            if person is None:
                continue
            detected += 1
            matched.add(person)
            points, kind = _openpose(truth)
            apart = np.linalg.norm(found.keypoints[person] * size - points, axis=1)
            distances.append(apart / (box[3] - box[1]))
            scores.append(found.scores[person])
            flags.append(kind)
        false += int((found.box_scores > 0).sum()) - len(matched)
    distance, score, flag = np.stack(distances), np.stack(scores), np.stack(flags)
    inside, seen = flag != OUTSIDE, flag == VISIBLE
    return Quality(
        detected=detected / figures,
        false=false / figures,
        pck={p: float((distance[:, s][inside[:, s]] < 0.1).mean()) for p, s in PARTS.items()},
        pck_fine={p: float((distance[:, s][inside[:, s]] < 0.02).mean()) for p, s in PARTS.items()},
        scored={p: float((score[:, s][seen[:, s]] > 0.3).mean()) for p, s in PARTS.items()},
        outside_scored=float((score[~inside] > 0.3).mean()) if (~inside).any() else 0.0,
    )


def _matching(found: Frame, box: np.ndarray) -> int | None:
    best = max(range(found.persons), key=lambda row: overlap(found.boxes[row], box))
    detected = found.box_scores[best] > 0 and overlap(found.boxes[best], box) > 0.5
    return best if detected else None


def _openpose(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, _ = to_openpose(truth[None, :, :2], np.ones((1, 133), np.float32))
    as_points = np.repeat(truth[None, :, 2:], 2, axis=2)
    flags, _ = to_openpose(as_points, np.ones((1, 133), np.float32))
    # The neck, mean of both shoulders, counts as seen when both are.
    return points[0], np.floor(flags[0, :, 0]).astype(int)
