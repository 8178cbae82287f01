"""Pose images as PoseNet was trained on (algorithm §4, Q16).

A pose is defined as drawn on a canvas of short side 2160 and then resized bilinearly to the
target. Most of that canvas is black. `draw_pose` gives the same pixels for less work: only
the blocks of the canvas that something was drawn on are resized, and the dimming of the limbs is
applied to their colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from dispose_stages.artifacts import (
    FACE_KEYPOINTS,
    LEFT_HAND_KEYPOINTS,
    RIGHT_HAND_KEYPOINTS,
    VISIBLE_SCORE,
    Frame,
)
from dispose_stages.geometry.skeleton import BODY_COLOURS, HAND_COLOURS, HAND_EDGES, LIMBS

CANVAS_SHORT_SIDE = 2160
_BLOCK = 32  # target pixels, at least
_STICK_WIDTH = 4
_DIMMING = 0.6
_EPSILON = 0.01
_FARTHEST = 2**30  # canvas pixels; OpenCV refuses to draw what reaches farther
_HAND_RADIUS, _FACE_RADIUS, _BODY_RADIUS = 4, 3, 4


Size = tuple[int, int]
"""Rows and columns."""


def _block(canvas: int, target: int) -> tuple[int, int]:
    """Length, on the canvas and the target, of blocks that a resize treats alike wherever they lie.

    Whole periods of the resize; one block if rounding breaks the periodicity.
    """
    period = target // math.gcd(canvas, target)
    block = period * -(-_BLOCK // period)
    if canvas < target or target % period or block >= target:
        return canvas, target
    scale = 1.0 / (target / canvas)
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32).astype(np.float64)
    index = np.arange(target) % block
    shift = np.arange(target) // block * (block * canvas // target)
    # OpenCV interpolates at float32 positions; a block gives the same pixels only if it finds
    # the same positions when it is resized by itself.
    if not np.array_equal(position[index] + shift, position):
        return canvas, target
    return block * canvas // target, block


class Raster:
    """A black canvas that remembers which of its blocks were drawn on.

    Args:
        target: What it is resized to; like the canvas without.
    """

    def __init__(self, canvas: Size, target: Size | None = None) -> None:
        # Pages of fresh zeros cost nothing until something is drawn on them.
        self.image: UInt8[np.ndarray, "y x 3"] = np.zeros((*canvas, 3), dtype=np.uint8)
        self.height, self.width = canvas
        self._target = target or canvas
        rows, columns = map(_block, canvas, self._target)
        self._canvas_block, self._target_block = zip(rows, columns, strict=True)
        count = [-(-n // size) for n, size in zip(self._target, self._target_block, strict=True)]
        self.touched: Bool[np.ndarray, "r c"] = np.zeros(count, dtype=bool)

    @classmethod
    def for_target(cls, height: int, width: int) -> Raster:
        """The canvas that a pose of the target size is drawn on."""
        short = min(height, width)
        scale = CANVAS_SHORT_SIDE / short if short != CANVAS_SHORT_SIDE else 1
        return cls((int(height * scale), int(width * scale)), (height, width))

    def touch(self, left: int, top: int, right: int, bottom: int) -> bool:
        """Remember a drawn box (inclusive); False if it lies outside the canvas."""
        if right < 0 or bottom < 0 or left >= self.width or top >= self.height:
            return False
        rows, columns = self._canvas_block
        self.touched[
            max(top, 0) // rows : min(bottom, self.height - 1) // rows + 1,
            max(left, 0) // columns : min(right, self.width - 1) // columns + 1,
        ] = True
        return True

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Row, first and last-plus-one column of every run of touched blocks."""
        for row in np.flatnonzero(self.touched.any(axis=1)):
            edges = np.flatnonzero(np.diff(self.touched[row].astype(np.int8), prepend=0, append=0))
            for first, last in edges.reshape(-1, 2):
                yield int(row), int(first), int(last)

    def resized(self) -> UInt8[np.ndarray, "3 h w"]:
        """The target-size image, channels first and reversed."""
        (height, width), (high, wide), (rows, columns) = (
            self._target,
            self._target_block,
            self._canvas_block,
        )
        out = np.zeros((3, height, width), dtype=np.uint8)
        for row, first, last in self._runs():
            top, bottom = row * high, min((row + 1) * high, height)
            left, right = first * wide, min(last * wide, width)
            source = self.image[row * rows : (row + 1) * rows, first * columns : last * columns]
            block = cv2.resize(source, (right - left, bottom - top))
            out[:, top:bottom, left:right] = block[..., ::-1].transpose(2, 0, 1)
        return out

    def disc(self, x: int, y: int, radius: int, colour: tuple[int, int, int]) -> None:
        """Filled circle."""
        if self.touch(x - radius, y - radius, x + radius, y + radius):
            cv2.circle(self.image, (x, y), radius, colour, thickness=-1)

    def edge(
        self, start: tuple[int, int], end: tuple[int, int], colour: tuple[float, float, float]
    ) -> None:
        """Line of thickness 2."""
        (x1, y1), (x2, y2) = start, end
        if max(abs(x1), abs(y1), abs(x2), abs(y2)) > _FARTHEST:
            return
        if self.touch(min(x1, x2) - 3, min(y1, y2) - 3, max(x1, x2) + 3, max(y1, y2) + 3):
            cv2.line(self.image, start, end, colour, thickness=2)

    def limb(
        self, start: Float64[np.ndarray, "2"], end: Float64[np.ndarray, "2"], colour: list[int]
    ) -> None:
        """Ellipse from one point to the other."""
        (x1, y1), (x2, y2) = start.tolist(), end.tolist()
        length = ((y1 - y2) ** 2 + (x1 - x2) ** 2) ** 0.5
        if not length < _FARTHEST:  # nor is anything that is not a number
            return
        angle = int(math.degrees(math.atan2(y1 - y2, x1 - x2)))
        centre = int((x1 + x2) / 2), int((y1 + y2) / 2)
        reach = int(length / 2) + _STICK_WIDTH + 1
        x, y = centre
        if x + reach < 0 or y + reach < 0 or x - reach >= self.width or y - reach >= self.height:
            return
        axes = int(length / 2), _STICK_WIDTH
        polygon = np.asarray(cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1))
        left, top, width, height = cv2.boundingRect(polygon)
        if self.touch(left - 1, top - 1, left + width, top + height):
            cv2.fillConvexPoly(self.image, polygon, colour)


def _dimmed(colour: tuple[int, int, int], confidence: float) -> list[int]:
    """A limb's colour after the canvas was multiplied by 0.6 and truncated."""
    return [int(min(max(int(value * confidence), 0), 255) * _DIMMING) for value in colour]


def _pixels(points: Float64[np.ndarray, "k 2"], raster: Raster) -> list[list[int]]:
    """Coordinates truncated toward zero."""
    pixels: list[list[int]] = (points * (raster.width, raster.height)).astype(np.int64).tolist()
    return pixels


def draw_body(raster: Raster, frame: Frame) -> None:
    """Limbs, dimmed, then body keypoints; all persons of a limb before the next limb."""
    points = frame.keypoints[:, :18] * (float(raster.width), float(raster.height))
    scores = frame.scores[:, :18].tolist()
    for (a, b), colour in zip(LIMBS, BODY_COLOURS, strict=False):
        for point, score in zip(points, scores, strict=True):
            if score[a] < VISIBLE_SCORE or score[b] < VISIBLE_SCORE:
                continue
            raster.limb(point[a], point[b], _dimmed(colour, score[a] * score[b]))
    pixels = points.astype(np.int64).tolist()
    for keypoint, (red, green, blue) in enumerate(BODY_COLOURS):
        for person, score in zip(pixels, scores, strict=True):
            s = score[keypoint]
            if s > VISIBLE_SCORE:
                x, y = person[keypoint]
                raster.disc(x, y, _BODY_RADIUS, (int(red * s), int(green * s), int(blue * s)))


def _draw_hand(
    raster: Raster, points: Float64[np.ndarray, "21 2"], scores: Float64[np.ndarray, "21"]
) -> None:
    pixels, confidence = _pixels(points, raster), scores.tolist()
    for (a, b), (red, green, blue) in zip(HAND_EDGES, HAND_COLOURS, strict=True):
        (x1, y1), (x2, y2) = pixels[a], pixels[b]
        if min(x1, y1, x2, y2) > _EPSILON:
            value = int(confidence[a] * confidence[b] * 255)
            raster.edge((x1, y1), (x2, y2), (red * value, green * value, blue * value))
    for (x, y), score in zip(pixels, confidence, strict=True):
        if x > _EPSILON and y > _EPSILON:
            raster.disc(x, y, _HAND_RADIUS, (0, 0, int(score * 255)))


def draw_hands(raster: Raster, frame: Frame) -> None:
    """Hands of all persons, without a score threshold: first every left, then every right one."""
    for side in (LEFT_HAND_KEYPOINTS, RIGHT_HAND_KEYPOINTS):
        for points, scores in zip(frame.keypoints[:, side], frame.scores[:, side], strict=True):
            _draw_hand(raster, points, scores)


def draw_faces(raster: Raster, frame: Frame) -> None:
    """Face points of all persons, without a score threshold."""
    for points, scores in zip(
        frame.keypoints[:, FACE_KEYPOINTS], frame.scores[:, FACE_KEYPOINTS], strict=True
    ):
        pixels = _pixels(points, raster)
        for (x, y), score in zip(pixels, scores.tolist(), strict=True):
            if x > _EPSILON and y > _EPSILON:
                grey = int(score * 255)
                raster.disc(x, y, _FACE_RADIUS, (grey, grey, grey))


def draw_pose(frame: Frame, height: int, width: int) -> UInt8[np.ndarray, "3 h w"]:
    """Pose image of all persons of a frame.

    Args:
        frame: Keypoints normalised by the target size (after alignment).

    Returns:
        uint8 image, equal in every pixel to drawing the whole canvas and resizing it.
    """
    return _drawn(Raster.for_target(height, width), frame).resized()


def draw_skeletons(frame: Frame, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """All persons of a frame on black, RGB, with lines as wide at every size; for people."""
    return _drawn(Raster((height, width)), frame).image[..., ::-1]


def _drawn(raster: Raster, frame: Frame) -> Raster:
    draw_body(raster, frame)
    draw_hands(raster, frame)
    draw_faces(raster, frame)
    return raster
