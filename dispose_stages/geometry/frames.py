"""Target size, cover resize and frame sampling (algorithm §1, §3); free of torch.

Sizes are ``(height, width)`` in pixels, images are RGB.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

ASPECT_RATIO = 9 / 16
"""Short over long side of every target that is not square."""
SIZE_MULTIPLE = 64
"""The adapter's levels divide by 64 with a floor, so sizes must be multiples (Q17)."""
BASE_FPS = 24


def target_size(height: int, width: int, resolution: int = 576) -> tuple[int, int]:
    """Size that the reference image is brought to.

    Args:
        resolution: Short side of the target, pixels; a multiple of 64.

    Returns:
        ``(height, width)`` of the target: 9:16 or 16:9 as the image is tall or wide, square if it
        is square.

    Raises:
        ValueError: If `resolution` is no positive multiple of 64.
    """
    if resolution <= 0 or resolution % SIZE_MULTIPLE:
        raise ValueError(f"resolution must be a positive multiple of 64, not {resolution}")
    long_side = math.floor(resolution / ASPECT_RATIO / SIZE_MULTIPLE) * SIZE_MULTIPLE
    if height > width:
        return long_side, resolution
    if height == width:
        return resolution, resolution
    return resolution, long_side


def cover_size(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int]:
    """Smallest size of the image's aspect that covers the target.

    The divisions are in the order of the original, which decides how an exact quotient rounds.
    """
    aspect = float(height) / float(width)
    if aspect < target_height / target_width:
        return target_height, math.ceil(target_height / aspect)
    return math.ceil(target_width * aspect), target_width


def crop_offset(size: int, target: int) -> int:
    """First row or column of a centre crop; halves round to even."""
    return round((size - target) / 2)


def _bilinear_axis(
    source: int, resized: int, first: int, count: int
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Lower index, upper index and weight of the upper one, half-pixel centres, in float32."""
    index = np.arange(first, first + count, dtype=np.float32)
    scale = np.float32(source) / np.float32(resized)
    position = np.maximum(scale * (index + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    lower = np.minimum(position.astype(np.int64), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    weight = np.clip(position - lower.astype(np.float32), 0, 1).astype(np.float32)
    return lower, upper, weight


def cover_resize(
    image: UInt8[np.ndarray, "h0 w0 3"], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Resize to cover the target, then crop its centre.

    Bilinear without antialiasing, half-pixel centres, float32, rounded half to even. Only the
    part that survives the crop is computed.
    """
    source_height, source_width = image.shape[:2]
    full_height, full_width = cover_size(source_height, source_width, height, width)
    top, left = crop_offset(full_height, height), crop_offset(full_width, width)
    if (full_height, full_width) == (source_height, source_width):
        return np.ascontiguousarray(image[top : top + height, left : left + width])
    above, below, down = _bilinear_axis(source_height, full_height, top, height)
    before, after, right = _bilinear_axis(source_width, full_width, left, width)
    first, last = int(above.min()), int(below.max()) + 1
    rows = image[first:last].astype(np.float32)
    weight_x = right[None, :, None]
    mixed = rows[:, before] * (1 - weight_x) + rows[:, after] * weight_x
    weight_y = down[:, None, None]
    resized = mixed[above - first] * (1 - weight_y) + mixed[below - first] * weight_y
    return np.asarray(np.clip(np.rint(resized), 0, 255), dtype=np.uint8)


def effective_stride(sample_stride: int, fps: float) -> int:
    """Stride through the video: `sample_stride` at up to 47 fps, doubled from 48, and so on.

    Raises:
        ValueError: If `sample_stride` is not positive.
    """
    if sample_stride < 1:
        raise ValueError(f"sample_stride must be at least 1, not {sample_stride}")
    rate = int(fps / BASE_FPS) if math.isfinite(fps) else 1
    return sample_stride * max(1, rate)


def paced_rate(fps: float, sample_stride: int) -> float:
    """Frames that are read of a second of video: the rate at which they keep its pace."""
    return fps / effective_stride(sample_stride, fps)


def own_frames(frames: int, made_fps: float, fps: float) -> list[int] | None:
    """Where the frames of a clip are in a video that was interpolated to another rate.

    Args:
        frames: Of the clip.
        made_fps: Frames per second of the clip.
        fps: Of the video.

    Returns:
        An index for each; None where not every one of them is a frame of the video.
    """
    ratio = round(fps / made_fps)
    if ratio < 1 or abs(fps / made_fps - ratio) > 1e-6 * ratio:
        return None
    return [frame * ratio for frame in range(frames)]


def sampled_frames(
    frame_count: int,
    fps: float,
    sample_stride: int,
    start_frame: int = 0,
    max_frames: int | None = None,
) -> list[int]:
    """Indices of the frames that are read from a video.

    Args:
        fps: Average frame rate.
        sample_stride: Stride at 24 fps.
        max_frames: At most so many frames; all if None.
    """
    indices = range(start_frame, frame_count, effective_stride(sample_stride, fps))
    return list(indices if max_frames is None else indices[:max_frames])


def frames_by_time(
    times: Float64[np.ndarray, "n"],
    fps: float,
    sample_stride: int,
    start_frame: int = 0,
    max_frames: int | None = None,
) -> list[int]:
    """Indices of the frames that are read from a video whose frame rate varies.

    The frames shown nearest to every stride-th tick of a clock that runs at the average rate from
    the first frame on, so that motion keeps its pace; one that is shown long is read repeatedly.
    At a constant rate these are the frames of `sampled_frames`.

    Args:
        times: When each frame is shown, seconds, ascending.
        fps: Average frame rate.
        sample_stride: Stride at 24 fps.
        max_frames: At most so many frames; all if None.
    """
    if start_frame >= len(times):
        return []
    step = effective_stride(sample_stride, fps) / fps
    left = float(times[-1] - times[start_frame])
    count = math.floor((left + 0.5 / fps) / step) + 1
    count = count if max_frames is None else min(count, max_frames)
    wanted = times[start_frame] + step * np.arange(count)
    later = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    later = np.minimum(later, len(times) - 1)
    earlier = np.maximum(later - 1, 0)
    nearest = np.where(wanted - times[earlier] <= times[later] - wanted, earlier, later)
    return [int(index) for index in np.maximum(nearest, start_frame)]
