"""Person detection around a YOLOX network: letterbox, decoding, NMS (algorithm §2, Q14).

Frames stay RGB as decoded, although the detector was trained on BGR: the weights further down saw
its answers to RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

PADDING_GREY = 114
STRIDES = (8, 16, 32)
CANDIDATE_SCORE = 0.1
PERSON_SCORE = 0.3
OVERLAP_THRESHOLD = 0.45
PERSON_CLASS = 0

Detector = Callable[[Float32[np.ndarray, "b 3 h w"]], Float32[np.ndarray, "b cells values"]]


def letterbox(
    image: UInt8[np.ndarray, "h0 w0 3"], height: int, width: int
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Shrink or enlarge to fit the top-left corner of a grey image.

    Args:
        image: RGB frame.
        height: Of the detector's input, pixels.
        width: Of the detector's input, pixels.

    Returns:
        The image and its scale, input pixels per frame pixel.
    """
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner_height, inner_width = int(image.shape[0] * ratio), int(image.shape[1] * ratio)
    boxed = np.full((height, width, 3), PADDING_GREY, dtype=np.uint8)
    # An extreme aspect may leave less than a pixel, which OpenCV refuses.
    size = (max(inner_width, 1), max(inner_height, 1))
    boxed[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return boxed, ratio


@lru_cache(maxsize=4)
def _cells(
    height: int, width: int
) -> tuple[Float32[np.ndarray, "cells 2"], Float32[np.ndarray, "cells 1"]]:
    """Grid position and stride of every output cell, finest stride first, row by row."""
    grids, strides = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        grids.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((rows * columns, 1), stride))
    return (
        np.concatenate(grids).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )


def decode_boxes(
    output: Float32[np.ndarray, "cells values"], height: int, width: int
) -> Float32[np.ndarray, "cells 4"]:
    """Centre and size of every cell's box, in pixels of the detector's input.

    Args:
        output: ``cx, cy, w, h, objectness, class scores`` per cell, as the network gives them.
    """
    grid, stride = _cells(height, width)
    return np.concatenate(
        [(output[:, :2] + grid) * stride, np.exp(output[:, 2:4]) * stride], axis=1
    )


def _corners(boxes: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    half = boxes[:, 2:] / np.float32(2)
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def nms(
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, "n"],
    threshold: float = OVERLAP_THRESHOLD,
) -> Int64[np.ndarray, "kept"]:
    """Greedy non-maximum suppression; areas count both border pixels (``+1``).

    Args:
        boxes: ``x1, y1, x2, y2``.
        scores: Per box.
        threshold: A box that overlaps a better one more than this is dropped.

    Returns:
        Rows kept, best first.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order = np.argsort(scores)[::-1]
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return np.asarray(kept, dtype=np.int64)


def class_nms(
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, "n classes"],
    *,
    candidate_score: float = CANDIDATE_SCORE,
    threshold: float = OVERLAP_THRESHOLD,
) -> Float64[np.ndarray, "kept 6"]:
    """Non-maximum suppression within each class.

    Returns:
        Rows ``x1, y1, x2, y2, score, class``, class by class, best first within a class.
    """
    found = [np.empty((0, 6))]
    for label in range(scores.shape[1]):
        candidates = np.flatnonzero(scores[:, label] > candidate_score)
        confidence = scores[candidates, label]
        kept = nms(boxes[candidates], confidence, threshold)
        found.append(
            np.column_stack(
                [boxes[candidates[kept]], confidence[kept], np.full(len(kept), float(label))]
            )
        )
    return np.concatenate(found).astype(np.float64)


def find_persons(
    output: Float32[np.ndarray, "cells values"],
    *,
    input_size: tuple[int, int],
    ratio: float,
    image_size: tuple[int, int],
) -> tuple[Float64[np.ndarray, "n 4"], Float64[np.ndarray, "n"]]:
    """Boxes of all persons of a frame, best first; the whole image where there is none.

    Only the person class goes through the suppression: classes do not suppress one another.

    Args:
        output: Of the detector for this frame.
        input_size: Height and width of the detector's input.
        ratio: Scale of the letterbox.
        image_size: Height and width of the frame.

    Returns:
        Boxes ``x1, y1, x2, y2`` in pixels of the frame, and scores (0 for the whole image).
    """
    scores = output[:, 4:5] * output[:, 5 + PERSON_CLASS : 6 + PERSON_CLASS]
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = _corners(decode_boxes(output, *input_size)) / np.float32(ratio)
    # A box of overflowing size overlaps nothing and everything; no trained detector gives one.
    candidates = (scores[:, 0] > CANDIDATE_SCORE) & np.isfinite(boxes).all(axis=1)
    found = class_nms(boxes[candidates], scores[candidates])
    found = found[found[:, 4] > PERSON_SCORE]
    if len(found):
        return found[:, :4], found[:, 4]
    height, width = image_size
    return np.asarray([[0.0, 0.0, width, height]]), np.zeros(1)


def network_input(boxed: list[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "b 3 h w"]:
    """Letterboxed frames as the detector takes them: planes, 0 to 255."""
    return np.ascontiguousarray(np.stack(boxed).transpose(0, 3, 1, 2), dtype=np.float32)
