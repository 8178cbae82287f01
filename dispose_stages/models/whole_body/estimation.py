"""Whole-body pose around an RTMPose-style SimCC network: crop, decode, map back (algorithm §2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.skeleton import to_openpose

PADDING = 1.25
SPLIT_RATIO = 2.0
"""SimCC bins per pixel of the network's input."""
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

SimCC = tuple[Float32[np.ndarray, "b k bins_x"], Float32[np.ndarray, "b k bins_y"]]
Estimator = Callable[[Float32[np.ndarray, "b 3 h w"]], SimCC]


def box_centre_and_size(
    boxes: Float64[np.ndarray, "n 4"], aspect: float
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """Centre of each box and its padded size, widened to the network's aspect.

    Args:
        boxes: ``x1, y1, x2, y2`` in pixels.
        aspect: Width over height of the network's input.

    Returns:
        ``(x, y)`` and ``(width, height)`` in pixels.
    """
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    width, height = ((boxes[:, 2:] - boxes[:, :2]) * PADDING).T
    wide = width > height * aspect
    sizes = np.stack(
        [np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=1
    )
    return centres, sizes


def crop_matrix(
    centre: Float64[np.ndarray, "2"], size: Float64[np.ndarray, "2"], height: int, width: int
) -> Float64[np.ndarray, "2 3"]:
    """Affine map from the frame to the network's input.

    Solved from three points in float32 like the original, not written down: the last bits decide
    how `cv2.warpAffine` rounds. The points are the centre, one half a width above it, and one half
    a width to the left of that.
    """
    x, y = float(centre[0]), float(centre[1])
    half = float(size[0]) * 0.5
    source = np.asarray([(x, y), (x, y - half), (x - half, y - half)], dtype=np.float32)
    target = np.asarray(
        [(width * 0.5, height * 0.5), (width * 0.5, height * 0.5 - width * 0.5), (0.0, 0.0)],
        dtype=np.float32,
    )
    target[2] = (target[1, 0] - width * 0.5, target[1, 1])
    matrix: Float64[np.ndarray, "2 3"] = cv2.getAffineTransform(source, target)
    return matrix


def crop_person(
    image: UInt8[np.ndarray, "h0 w0 3"],
    centre: Float64[np.ndarray, "2"],
    size: Float64[np.ndarray, "2"],
    height: int,
    width: int,
) -> UInt8[np.ndarray, "h w 3"]:
    """The box, bilinearly resampled to the network's input; black beyond the frame."""
    matrix = crop_matrix(centre, size, height, width)
    crop: UInt8[np.ndarray, "h w 3"] = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR
    )
    return crop


@lru_cache(maxsize=1)
def _normalisation_table() -> Float32[np.ndarray, "1 256 3"]:
    grey = np.arange(256, dtype=np.float64)[:, None]
    return ((grey - MEAN) / STD).astype(np.float32)[None]


def network_input(crops: list[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "b 3 h w"]:
    """Normalised crops as planes."""
    table = _normalisation_table()
    normalised = np.stack([cv2.LUT(crop, table) for crop in crops])
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def decode_simcc(
    simcc_x: Float32[np.ndarray, "b k bins_x"], simcc_y: Float32[np.ndarray, "b k bins_y"]
) -> tuple[Float32[np.ndarray, "b k 2"], Float32[np.ndarray, "b k"]]:
    """Location in pixels of the network's input and score of each keypoint.

    The location is the best bin of each axis, bin -1 where the score is not positive; the score is
    the lesser of both maxima.
    """
    bins = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1).astype(np.float32)
    scores = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
    bins[scores <= 0] = -1
    return bins / np.float32(SPLIT_RATIO), scores


def to_frame(
    locations: Float32[np.ndarray, "n k 2"],
    centres: Float64[np.ndarray, "n 2"],
    sizes: Float64[np.ndarray, "n 2"],
    input_size: tuple[int, int],
) -> Float64[np.ndarray, "n k 2"]:
    """Locations in pixels of the frame.

    Args:
        locations: ``(x, y)`` in pixels of the network's input.
        sizes: Padded sizes of the boxes.
        input_size: Height and width of the network's input.
    """
    height, width = input_size
    relative = locations / np.asarray([width, height], dtype=np.float64)
    return np.asarray(relative * sizes[:, None] + centres[:, None] - sizes[:, None] / 2)


def frame_pose(
    keypoints: Float64[np.ndarray, "n 133 2"],
    scores: Float32[np.ndarray, "n 133"],
    boxes: Float64[np.ndarray, "n 4"],
    box_scores: Float64[np.ndarray, "n"],
    image_size: tuple[int, int],
) -> Frame:
    """Whole-body keypoints in pixels → a `Frame`: 134-point order, normalised."""
    points, confidence = to_openpose(keypoints, scores)
    height, width = image_size
    return Frame(points / np.asarray([width, height], float), confidence, boxes, box_scores)
