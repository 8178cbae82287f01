"""Body keypoints as pixel tracks, and the sparse impulses that motion fields are made of.

Source: algorithm §5 (DisPose, section 3.2: sparse motion field). Everything here is NumPy in
float64; one row per frame and keypoint, so that nothing is ever as large as an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dispose_stages.config import Compat


@dataclass(frozen=True, slots=True)
class Impulses:
    """Displacements that are written at single pixels, frame by frame.

    Keypoints keep their order, because where two share a pixel the later one is kept.

    Attributes:
        rows: Pixel row per frame and keypoint.
        columns: Pixel column per frame and keypoint.
        displacement: ``(dx, dy)`` in pixels.
        written: Whether this keypoint's displacement is the one kept at its pixel.
    """

    rows: Int64[np.ndarray, "t k"]
    columns: Int64[np.ndarray, "t k"]
    displacement: Float64[np.ndarray, "t k 2"]
    written: Bool[np.ndarray, "t k"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, frames: slice) -> Impulses:
        return Impulses(
            self.rows[frames],
            self.columns[frames],
            self.displacement[frames],
            self.written[frames],
        )


def pixel_track(
    points: Float64[np.ndarray, "f k 2"],
    visible: Bool[np.ndarray, "f k"],
    height: int,
    width: int,
) -> Float64[np.ndarray, "f k 2"]:
    """Keypoints in pixels, clipped to the image; ``(0, 0)`` where invisible.

    Args:
        points: Normalised ``(x, y)``.
        visible: Whether each keypoint counts.
        height: Of the image, pixels.

    Returns:
        ``(x, y)`` in ``[0, width - 1] x [0, height - 1]``.
    """
    size = np.array([width, height], dtype=np.float64)
    track = np.clip(np.asarray(points, dtype=np.float64) * size, 0.0, size - 1.0)
    return np.where(visible[..., None], track, 0.0)


def scale_track(
    track: Float64[np.ndarray, "f k 2"], height: int, width: int, size: int
) -> Float64[np.ndarray, "f k 2"]:
    """A pixel track of a ``height x width`` image on a square of `size` pixels."""
    return np.asarray(track * np.array([size / width, size / height]))


def frame_to_frame(
    track: Float64[np.ndarray, "f k 2"],
    visible: Bool[np.ndarray, "f k"],
    *,
    compat: Compat,
) -> Impulses:
    """Displacement from each frame to the next, at the keypoint's pixel in the earlier one.

    With ``official``, a keypoint that vanishes in the later frame moves to ``(0, 0)`` (Q7); with
    ``corrected``, it writes nothing.

    Args:
        track: From `pixel_track`.
        visible: As given to `pixel_track`.

    Returns:
        Impulses of ``f - 1`` frames.
    """
    moves = visible[:-1] if compat == "official" else visible[:-1] & visible[1:]
    return _impulses(track[:-1], track[1:] - track[:-1], moves)


def reference_to_frame(
    track: Float64[np.ndarray, "f k 2"],
    visible: Bool[np.ndarray, "f k"],
    *,
    compat: Compat,
) -> Impulses:
    """Displacement from frame 0 to every other, at the keypoint's pixel in frame 0.

    With ``official``, visibility is ignored: keypoints invisible in frame 0 all write at pixel
    ``(0, 0)`` and one invisible in a frame moves to ``(0, 0)`` (Q8); with ``corrected``, only
    keypoints visible in both are written.

    Args:
        track: From `pixel_track` or `scale_track`.
        visible: As given to `pixel_track`.

    Returns:
        Impulses of ``f - 1`` frames.
    """
    both = visible[1:] & visible[:1]
    moves = np.ones_like(both) if compat == "official" else both
    origin = np.broadcast_to(track[:1], track[1:].shape)
    return _impulses(origin, track[1:] - track[:1], moves)


def _impulses(
    origin: Float64[np.ndarray, "t k 2"],
    displacement: Float64[np.ndarray, "t k 2"],
    moves: Bool[np.ndarray, "t k"],
) -> Impulses:
    # Points are clipped to the image before, so truncation is the floor.
    pixels = origin.astype(np.int64)
    columns, rows = pixels[..., 0], pixels[..., 1]
    same_pixel = (rows[:, :, None] == rows[:, None, :]) & (columns[:, :, None] == columns[:, None])
    later = np.triu(np.ones(same_pixel.shape[1:], dtype=bool), k=1)
    overwritten = (same_pixel & later & moves[:, None, :]).any(axis=2)
    return Impulses(rows, columns, displacement, moves & ~overwritten)
