"""True frames in the result's place, by the reference's geometry or by the pair's alignment."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

from dispose_stages.artifacts import MotionField
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.frames import cover_size, crop_offset
from dispose_stages.missing import Missing
from dispose_stages.score.similarity import Mask, Pixels
from dispose_stages.score.unit import Against

_OF_THE_FILE = frozenset({Reason.MEDIA_UNREADABLE, Reason.MEDIA_UNSUPPORTED})
"""Faults that a file has on every machine; others may pass."""
_RATE_TOLERANCE = 0.01
_SHAPE_TOLERANCE = 0.02


def unusable(
    *,
    last_index: int,
    frames: int,
    fps: float,
    driver_fps: float,
    aspect: float,
    driver_aspect: float,
) -> Missing | None:
    """Why a truth cannot be compared with, if it cannot.

    Args:
        last_index: Of the driver's frames that were used.
        driver_fps: Frames are paired by index, so the rates have to agree (within 1 %).
        aspect: Width over height of the truth.
        driver_aspect: Likewise of the driver; they show the same scene (within 2 %).
    """
    if abs(fps - driver_fps) > _RATE_TOLERANCE * driver_fps:
        return Missing.TRUTH_RATE
    if abs(aspect / driver_aspect - 1) > _SHAPE_TOLERANCE:
        return Missing.TRUTH_SHAPE
    return Missing.TRUTH_SHORT if frames <= last_index else None


def cover_frame(frame: UInt8[np.ndarray, "h0 w0 3"], height: int, width: int) -> Pixels:
    """`geometry.frames.cover_resize`, eight times as fast; values halfway may round otherwise."""
    full_height, full_width = cover_size(frame.shape[0], frame.shape[1], height, width)
    top, left = crop_offset(full_height, height), crop_offset(full_width, width)
    resized = frame
    if frame.shape[:2] != (full_height, full_width):
        values = cv2.resize(frame.astype(np.float32), (full_width, full_height))
        resized = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


def aligned_frame(
    frame: UInt8[np.ndarray, "h0 w0 3"],
    *,
    scale: tuple[float, float],
    shift: tuple[float, float],
    height: int,
    width: int,
) -> tuple[Pixels, Mask]:
    """A true frame, moved as the driver's pose was, and where it is defined.

    Args:
        frame: RGB.
        scale: Of the alignment of normalised coordinates.
        height: Of the result, pixels.
    """
    size = np.array([width, height], dtype=np.float64)
    source = np.array([frame.shape[1], frame.shape[0]], dtype=np.float64)
    matrix = np.zeros((2, 3))
    matrix[[0, 1], [0, 1]] = np.asarray(scale) * size / source
    matrix[:, 2] = np.asarray(shift) * size
    moved = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)
    whole = np.full(frame.shape[:2], 255, np.uint8)
    covered = cv2.warpAffine(whole, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(moved), np.asarray(covered == 255)


class TruthLostError(Exception):
    """Frames of the truth cannot be decoded."""


def readable(frames: Iterator[Pixels]) -> Iterator[Pixels]:
    """The same frames, whose own fault is told from that of the result.

    Raises:
        TruthLostError: One cannot be decoded.
        UnitError: The machine or its limits may be why.
    """
    try:
        yield from frames
    except UnitError as error:
        if error.reason not in _OF_THE_FILE:
            raise
        raise TruthLostError(str(error)) from error


def in_place(
    frames: Iterator[Pixels], motion: MotionField, against: Against
) -> Iterator[tuple[Pixels, Mask | None]]:
    """True frames at the result's place and size."""
    place = {"height": motion.height, "width": motion.width}
    for frame in frames:
        if against == "aligned":
            yield aligned_frame(frame, scale=motion.scale, shift=motion.shift, **place)
        else:
            yield cover_frame(frame, **place), None
