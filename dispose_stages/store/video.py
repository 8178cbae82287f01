"""Driving videos, frame by frame in the order in which they are stored.

Decoding is decord's, so pixels are those the original sees: upright by the rotation that phones
record (mirrored display matrices are not undone), converted by the stream's colour matrix. Frames
are always reached by decoding forward from the beginning. Seeking, decord's ``get_batch`` and its
``skip_frames`` across key frames land on wrong frames where groups of pictures are open or
B-frames reorder (measured: up to 90 % of the frames of an MPEG-4 Part 2 clip), and cost as much
for the strides in use.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from jaxtyping import UInt8

from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.ffmpeg import StreamHeader, read_header
from dispose_stages.store.media import MAX_DIMENSION, MAX_PIXELS, check_file, check_size

T = TypeVar("T")
_CONTAINERS = frozenset(
    {"mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "asf", "ogg", "gif", "mxf"}
)
"""Formats that hold a video themselves; playlists and text formats would open other files."""

_LOG_PREFIX = re.compile(r"^\[[\d:]+\] \S+\.cc:\d+: ")


class VideoReader:
    """Frames of one video, with bounded memory (one decoder thread's buffers and one frame).

    Args:
        path: The file.
        threads: Decoder threads; more cost memory and gain little (measured: 10 % for two).
        max_dimension: Limit on height and width, pixels.
        max_pixels: Limit on height x width.

    Raises:
        UnitError: The file is missing, empty, no video that decord decodes, too large, or without
            a single frame.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        max_dimension: int = MAX_DIMENSION,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.path = Path(path).absolute()
        self._threads = threads
        check_file(self.path)
        header = self._header
        check_size(
            self.path,
            header.height,
            header.width,
            max_dimension=max_dimension,
            max_pixels=max_pixels,
        )
        self._open()
        self.frame_count = self._guarded(lambda: len(self._decoder), "its frames are not countable")
        if self.frame_count == 0:
            raise UnitError(Reason.NO_FRAMES, f"{self.path}: no frames")
        self.fps = float(self._guarded(self._decoder.get_avg_fps, "it has no frame rate"))
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise UnitError(Reason.MEDIA_UNREADABLE, f"{self.path}: frame rate {self.fps}")
        self.height, self.width, _ = self._first_frame.shape

    @cached_property
    def _header(self) -> StreamHeader:
        header = read_header(self.path)
        if header.container and not _CONTAINERS & set(header.container.split(",")):
            raise UnitError(
                Reason.MEDIA_UNSUPPORTED, f"{self.path}: {header.container} is not a video format"
            )
        return header

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which decord turns the stored pixels: 0, 90, 180 or 270."""
        return self._header.rotation

    @cached_property
    def _first_frame(self) -> UInt8[np.ndarray, "h w 3"]:
        return self._next_frame(0)

    def _open(self) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError, ValueError, IndexError, StopIteration)
        self._decoder: Any = self._guarded(
            lambda: decord.VideoReader(
                str(self.path), ctx=decord.cpu(0), num_threads=self._threads
            ),
            f"decord cannot open it ({self._header.codec or 'no known codec'})",
        )
        self._position = 0
        self._key_frames: list[int] = self._guarded(
            lambda: sorted(self._decoder.get_key_indices()), "its key frames are unknown"
        )

    def _guarded(self, call: Callable[[], T], what: str) -> T:
        try:
            return call()
        except self._errors as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            detail = _LOG_PREFIX.sub("", lines[0])[:200]
            unsupported = "cannot find video stream" in detail and self._header.codec
            reason = Reason.MEDIA_UNSUPPORTED if unsupported else Reason.MEDIA_UNREADABLE
            raise UnitError(reason, f"{self.path}: {what}: {detail}") from error

    def _skip_towards(self, index: int) -> None:
        """Pass frames; not beyond a key frame in one go, since decord would seek to it."""
        following = bisect.bisect_right(self._key_frames, self._position)
        key_frame = self._key_frames[following] if following < len(self._key_frames) else index + 1
        count = min(index, key_frame - 1) - self._position
        if count > 0:
            self._decoder.skip_frames(count)
        else:
            self._decoder.next()
        self._position += max(count, 1)

    def _next_frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Decode frame `index`, which must not lie behind the decoder's position."""
        what = f"frame {index} of {self.frame_count} cannot be decoded"
        while self._position < index:
            self._guarded(lambda: self._skip_towards(index), what)
        frame: np.ndarray = self._guarded(lambda: self._decoder.next().asnumpy(), what)
        self._position = index + 1
        return frame

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
        """Index and RGB of each frame asked for.

        Ascending indices cost one pass; a step back starts over from the beginning.

        Raises:
            IndexError: An index is outside the video.
            UnitError: ``media_unreadable``: the video is damaged or ends early.
        """
        for index in indices:
            if not 0 <= index < self.frame_count:
                raise IndexError(f"frame {index} of {self.frame_count}")
            if index == 0:
                yield index, self._first_frame.copy()
                continue
            if index < self._position:
                self._open()
            frame = self._next_frame(index)
            if frame.shape != self._first_frame.shape:
                raise UnitError(
                    Reason.MEDIA_UNSUPPORTED, f"{self.path}: the size changes at frame {index}"
                )
            yield index, frame

    def close(self) -> None:
        """Release the decoder."""
        self._decoder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
