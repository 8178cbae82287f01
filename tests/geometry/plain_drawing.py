"""The pose image as it is defined (algorithm §4): draw the whole 2160 canvas, then resize it.

Oracle for `dispose_stages.geometry.drawing`, and what its speed is measured against.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dispose_stages.artifacts import (
    FACE_KEYPOINTS,
    LEFT_HAND_KEYPOINTS,
    RIGHT_HAND_KEYPOINTS,
    Frame,
)
from dispose_stages.geometry.skeleton import BODY_COLOURS, HAND_COLOURS, HAND_EDGES, LIMBS


def plain_body(canvas: np.ndarray, frame: Frame) -> np.ndarray:
    """Limbs, the dimming of the whole canvas, keypoints."""
    height, width = canvas.shape[:2]
    for (a, b), colour in zip(LIMBS, BODY_COLOURS, strict=False):
        for points, scores in zip(frame.keypoints, frame.scores, strict=True):
            if scores[a] < 0.3 or scores[b] < 0.3:
                continue
            x, y = points[[a, b], 0] * width, points[[a, b], 1] * height
            length = ((y[0] - y[1]) ** 2 + (x[0] - x[1]) ** 2) ** 0.5
            angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
            centre = int(np.mean(x)), int(np.mean(y))
            ellipse = cv2.ellipse2Poly(centre, (int(length / 2), 4), int(angle), 0, 360, 1)
            confidence = scores[a] * scores[b]
            cv2.fillConvexPoly(canvas, ellipse, [int(value * confidence) for value in colour])
    canvas = (canvas * 0.6).astype(np.uint8)
    for keypoint, colour in enumerate(BODY_COLOURS):
        for points, scores in zip(frame.keypoints, frame.scores, strict=True):
            if scores[keypoint] > 0.3:
                x, y = points[keypoint]
                shade = [int(value * scores[keypoint]) for value in colour]
                cv2.circle(canvas, (int(x * width), int(y * height)), 4, shade, thickness=-1)
    return canvas


def _plain_hands(canvas: np.ndarray, frame: Frame) -> None:
    height, width = canvas.shape[:2]
    for side in (LEFT_HAND_KEYPOINTS, RIGHT_HAND_KEYPOINTS):
        for points, scores in zip(frame.keypoints[:, side], frame.scores[:, side], strict=True):
            pixels = [(int(x * width), int(y * height)) for x, y in points]
            for (a, b), colour in zip(HAND_EDGES, HAND_COLOURS, strict=True):
                if min(*pixels[a], *pixels[b]) > 0.01:
                    value = int(scores[a] * scores[b] * 255)
                    shade = [channel * value for channel in colour]
                    cv2.line(canvas, pixels[a], pixels[b], shade, thickness=2)
            for pixel, score in zip(pixels, scores, strict=True):
                if min(pixel) > 0.01:
                    cv2.circle(canvas, pixel, 4, (0, 0, int(score * 255)), thickness=-1)


def _plain_faces(canvas: np.ndarray, frame: Frame) -> None:
    height, width = canvas.shape[:2]
    for points, scores in zip(
        frame.keypoints[:, FACE_KEYPOINTS], frame.scores[:, FACE_KEYPOINTS], strict=True
    ):
        for (x, y), score in zip(points, scores, strict=True):
            pixel = int(x * width), int(y * height)
            if min(pixel) > 0.01:
                cv2.circle(canvas, pixel, 3, [int(score * 255)] * 3, thickness=-1)


def plain_pose(frame: Frame, height: int, width: int) -> np.ndarray:
    """The definition, step by step."""
    scale = 2160 / min(height, width)
    canvas = np.zeros((int(height * scale), int(width * scale), 3), dtype=np.uint8)
    canvas = plain_body(canvas, frame)
    _plain_hands(canvas, frame)
    _plain_faces(canvas, frame)
    resized = cv2.resize(canvas, (width, height))
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
