"""Frames read by decord.

They are reached by decoding forward from the beginning. Seeking, decord's ``get_batch`` and its
``skip_frames`` across key frames land on wrong frames where groups of pictures are open or
B-frames reorder (measured: up to 90 % of the frames of an MPEG-4 Part 2 clip), and cost as much
for the strides in use.
"""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dispose_stages.store.decoding.faults import missing_frame
from dispose_stages.store.decoding.ticks import tick

Rgb = UInt8[np.ndarray, "h w 3"]


class DecordReader:
    """Decord: ordinary files, with the pixels that the original sees."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._start()
        self._first = self._next(0)

    def _start(self) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._decoder: Any = decord.VideoReader(self._path, ctx=decord.cpu(0), num_threads=1)
        self._position = 0
        self._key_frames: list[int] = sorted(self._decoder.get_key_indices())

    def __len__(self) -> int:
        return len(self._decoder)

    def read(self, index: int) -> Rgb:
        """See `FrameReader`."""
        return self._first if index == 0 else self._next(index)

    def _next(self, index: int) -> Rgb:
        try:
            if index < self._position:
                self._start()
            while self._position < index:
                self._skip_towards(index)
            frame: Rgb = self._decoder.next().asnumpy()
        except Exception as error:
            raise missing_frame(index, error) from error
        self._position = index + 1
        tick()
        return frame

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
        tick()

    def close(self) -> None:
        """See `FrameReader`."""
        self._decoder = None
