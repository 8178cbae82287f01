"""Moving pictures of a pair: what each stage made of it, frame by frame, side by side.

All panels of a pair lie in one small video, so that they play in step whatever the browser does;
the page shows each in its place. Frame ``i`` of every panel belongs to frame ``i`` of the result.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.geometry.colour_wheel import flow_colours, wheel
from dispose_stages.geometry.drawing import draw_skeletons
from dispose_stages.geometry.frames import cover_resize, cover_size, crop_offset
from dispose_stages.geometry.skeleton import BODY_COLOURS
from dispose_stages.motion.overlay import aligned_bodies, overlay_skeletons

if TYPE_CHECKING:
    from dispose_stages.store.shelf import Video

SIDE = 320
"""Longest side of a panel, pixels."""
MAX_FRAMES = 150
"""Frames of a preview; of longer clips every second, third … is shown."""
WHEEL = 96
"""Diameter of the legend, pixels."""
_TRAIL = 24
"""Frames that a trajectory reaches back."""
_DIM = 0.45
"""How much of a picture's brightness is left below what is drawn on it."""
_FINE = 2
"""How much larger than the panel skeletons are drawn, so that their lines stay thin."""

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Preview:
    """A video of panels side by side; its fields are also those of the record beside it.

    Attributes:
        fps: Frame rate.
        step: Each is so many frames of the result after the one before.
        panels: Name, first column, width and height of each, from left to right.
        limit: Pixels of motion that have full colour; 0 where there is no field.
    """

    link: str
    fps: float
    frames: int
    step: int
    panels: Sequence[tuple[str, int, int, int]]
    limit: float = 0.0


def panel_size(height: int, width: int) -> tuple[int, int]:
    """``(height, width)`` of the panel of a picture: its proportions, even, sides up to `SIDE`."""
    scale = SIDE / max(height, width)
    return max(16, round(height * scale / 2) * 2), max(16, round(width * scale / 2) * 2)


def shown_frames(count: int) -> tuple[range, int]:
    """Which frames of a clip are shown, and how far they are apart."""
    step = -(-count // MAX_FRAMES) or 1
    return range(0, count, step), step


def made_frames(video: Video) -> int:
    """How many frames of a video were made; others are interpolated."""
    return round(video.frames * (video.made_fps or video.fps) / video.fps)


def placed(positions: Sequence[int], video: Video) -> tuple[int, ...]:
    """Which frames of a video are nearest to those that were made."""
    ratio = video.fps / (video.made_fps or video.fps)
    return tuple(min(round(position * ratio), video.frames - 1) for position in positions)


def fitted(image: Pixels) -> Pixels:
    """A picture at the size of its panel."""
    return resized(image, *panel_size(*image.shape[:2]))


def resized(image: Pixels, height: int, width: int) -> Pixels:
    """A picture at another size."""
    smaller = image.shape[0] > height
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def large_enough(image: Pixels, motion: MotionField) -> bool:
    """Whether a picture, which may be small already, fills the result's panel without growing."""
    size = panel_size(motion.height, motion.width)
    return bool(cover_size(*_size(image), *size)[0] <= 1.1 * image.shape[0])


def in_place(image: Pixels, motion: MotionField) -> Pixels:
    """A frame of the driver in the result's place: scaled to cover it, its centre cut out.

    Shrunk as results are, so that a difference shows what differs and not how it was shrunk.
    """
    height, width = panel_size(motion.height, motion.width)
    full = resized(image, *cover_size(*_size(image), height, width))
    top, left = crop_offset(full.shape[0], height), crop_offset(full.shape[1], width)
    return np.ascontiguousarray(full[top : top + height, left : left + width])


def _size(image: Pixels) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def still(image: Pixels) -> bytes:
    """A picture as a WebP file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=80, method=4)
    return stream.getvalue()


def legend() -> bytes:
    """The colour wheel as a PNG file with a transparent surround."""
    colours = wheel(WHEEL)
    covered = colours.any(axis=-1, keepdims=True).astype(np.uint8) * 255
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([colours, covered], axis=-1)).save(stream, "PNG")
    return stream.getvalue()


def skeleton(frame: Frame, height: int, width: int) -> Pixels:
    """Body, hands and faces of all persons on black."""
    fine = draw_skeletons(frame, height * _FINE, width * _FINE)
    return resized(np.ascontiguousarray(fine), height, width)


def dimmed(image: Pixels) -> Pixels:
    """A picture for something to be drawn on."""
    return np.asarray(image * np.float32(_DIM), dtype=np.uint8)


def found_poses(
    frames: Sequence[Pixels], track: PoseTrack, positions: Sequence[int]
) -> list[Pixels]:
    """Poses of all persons as they were found, over the dimmed driver."""
    return [
        np.maximum(dimmed(image), skeleton(track[position], *image.shape[:2]))
        for image, position in zip(frames, positions, strict=True)
    ]


def aligned_poses(motion: MotionField, positions: Sequence[int]) -> list[Pixels]:
    """Poses as the networks are given them, in the reference's place."""
    size = panel_size(motion.height, motion.width)
    return [skeleton(motion.poses[position + 1], *size) for position in positions]


def fits(motion: MotionField, driving: PoseTrack, positions: range) -> list[Pixels]:
    """Reference, driver and both ways to fit it, as skeletons over each other.

    Args:
        motion: The pair.
        driving: Poses of the driver, not aligned.
        positions: Driving frames.
    """
    height, width = panel_size(motion.height, motion.width)
    fine = height * _FINE, width * _FINE
    scale = fine[0] / motion.height
    shown = []
    for position in positions:
        bodies = aligned_bodies(motion, driving, position)
        drawn = overlay_skeletons(fine, [(p * scale, seen, colour) for p, seen, colour in bodies])
        shown.append(resized(drawn, height, width))
    return shown


def trajectories(reference: Pixels, motion: MotionField, positions: Sequence[int]) -> list[Pixels]:
    """Where the driving person's keypoints came from, over the dimmed reference."""
    height, width = panel_size(motion.height, motion.width)
    ground = dimmed(cover_resize(reference, height, width))
    points, visible = motion.body_track()
    pixels = np.clip(points * (width, height), -SIDE, 2 * SIDE)
    return [_trails(ground.copy(), pixels, visible, position + 1) for position in positions]


def _trails(
    image: Pixels, points: Float64[np.ndarray, "f 18 2"], visible: np.ndarray, last: int
) -> Pixels:
    first = max(0, last - _TRAIL)
    for keypoint, colour in enumerate(BODY_COLOURS):
        seen = visible[first : last + 1, keypoint]
        path = np.rint(points[first : last + 1, keypoint][seen] * 8).astype(np.int32)
        if len(path) > 1:
            cv2.polylines(
                image, [path], isClosed=False, color=colour, lineType=cv2.LINE_AA, shift=3
            )
        if visible[last, keypoint]:
            cv2.circle(image, path[-1].tolist(), 3 * 8, colour, -1, cv2.LINE_AA, shift=3)
    return image


def target_flow(
    flow: Float32[np.ndarray, "f 2 rows columns"], motion: MotionField
) -> Float32[np.ndarray, "f 2 rows columns"]:
    """A dense field in pixels of the target, from pixels of the square it was computed in."""
    scale = np.array([motion.width, motion.height], np.float32) / (2 * flow.shape[-1])
    return np.asarray(flow * scale[:, None, None])


def dense_motion(
    flow: Float32[np.ndarray, "f 2 rows columns"], motion: MotionField, limit: float
) -> list[Pixels]:
    """The dense field as colours.

    Args:
        flow: Of the shown frames, pixels of the target.
        motion: Tells the size of the target.
        limit: Pixels of motion that have full colour.
    """
    size = panel_size(motion.height, motion.width)
    return [resized(flow_colours(field, limit), *size) for field in flow]


def side_by_side(
    panels: Mapping[str, Sequence[Pixels]],
) -> tuple[list[Pixels], list[tuple[str, int, int, int]]]:
    """Panels of equally many frames in one row, and where each is; black below the lower ones."""
    places: list[tuple[str, int, int, int]] = []
    left = 0
    for name, frames in panels.items():
        height, width = frames[0].shape[:2]
        places.append((name, left, width, height))
        left += width
    shape = (max(height for *_, height in places), left, 3)
    count = min(len(frames) for frames in panels.values())
    strip = [np.zeros(shape, np.uint8) for _ in range(count)]
    for name, left, width, height in places:
        for image, frame in zip(strip, panels[name], strict=False):
            image[:height, left : left + width] = frame
    return strip, places
