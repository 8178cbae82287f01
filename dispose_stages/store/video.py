"""Driving videos, frame by frame as a player shows them.

Frames are decoded in a process of their own (`dispose_stages.store.decoding`) and cross in shared
memory, a few ahead of whoever reads them. Ordinary files are read by decord, whose pixels are those
the original sees; everything else, and what decord fails on, by PyAV (docs/decisions/0010).
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby, islice
from pathlib import Path
from typing import Literal, Self

import numpy as np
from jaxtyping import Float64, UInt8

from dispose_stages.config import Compute
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.frames import frames_by_time, sampled_frames
from dispose_stages.store.decoding.decoder import DecoderLostError, FaultError
from dispose_stages.store.decoding.facts import Inspection, ReaderName, VideoFacts
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.pool import give_back, lost_error, take_decoder, unit_error
from dispose_stages.store.files import check_file

_logger = logging.getLogger(__name__)
_AHEAD = 3
"""Frames in shared memory."""
_REQUESTED = 4096
"""Indices of one request."""
_DEFAULT_COMPUTE = Compute()
_DEFAULT_SIZES = SizeLimits()

ReaderChoice = Literal["auto"] | ReaderName
Frame = UInt8[np.ndarray, "h w 3"]


def damage_message(path: Path, first: int, total: int, used: int) -> str:
    """What is said of a video that cannot be read to its end.

    Args:
        first: Index of the first frame that is missing.
        total: Frames that there should be.
        used: Frames that reading parameters choose before it.
    """
    remedy = f"; max_frames={used} would use what is before" if used else ""
    return f"{path}: {damaged_from(path, first, total)}{remedy}"


def damaged_from(path: Path, first: int, total: int) -> str:
    """Where the damage of a video begins; the total is left out where the file cannot hold it."""
    # A damaged header promises anything, and no frame takes less than a byte.
    of_total = f" of {total}" if total <= path.stat().st_size else ""
    return f"damaged from frame {first}{of_total} on"


class VideoReader:
    """Frames of one video, with bounded memory (a decoder's buffers and a few frames).

    Args:
        reader: The library that reads it, as an earlier probe has found; ``auto`` finds out.

    Raises:
        UnitError: The file is missing, empty, no video that can be decoded, too large, or without
            a single frame.
    """

    def __init__(
        self,
        path: Path,
        *,
        reader: ReaderChoice = "auto",
        compute: Compute = _DEFAULT_COMPUTE,
        sizes: SizeLimits = _DEFAULT_SIZES,
    ) -> None:
        self.path = Path(path).absolute()
        self._reader: ReaderChoice = reader
        self._compute = compute
        self._sizes = sizes
        self._streams = 0
        check_file(self.path)
        self._decoder = take_decoder(compute)
        self._streaming = False
        self._start()

    def _start(self) -> None:
        """Open the video in the decoder process; in another one if that is lost."""
        request = {
            "do": "open",
            "path": str(self.path),
            "reader": self._reader,
            "limits": astuple(self._sizes),
        }
        while True:
            try:
                answer = self._decoder.ask(request)
            except FaultError as fault:
                self.close()
                raise unit_error(self.path, fault) from None
            except DecoderLostError as error:
                self._replace(error)
                request["reader"] = self._reader
            except BaseException:
                self._decoder.kill()
                raise
            else:
                self.facts = VideoFacts(**answer.header["facts"])
                self.times: Float64[np.ndarray, "n"] = np.frombuffer(answer.payload, np.float64)
                return

    def _replace(self, error: DecoderLostError) -> None:
        """A fresh process that reads by PyAV, unless that is what was lost."""
        _logger.info("%s: decoder %s", self.path, error)
        self._streaming = False
        if self._reader == "av" and self._decoder.fresh:
            raise lost_error(self.path, error, self._compute) from None
        self._reader = "av"
        self._decoder = take_decoder(self._compute, fresh=True)

    @property
    def frame_count(self) -> int:
        """Number of frames that are shown and stored."""
        return self.facts.frames

    @property
    def fps(self) -> float:
        """Average frame rate."""
        return self.facts.fps

    @property
    def height(self) -> int:
        """Of the frames as handed out, pixels."""
        return self.facts.height

    @property
    def width(self) -> int:
        """Of the frames as handed out, pixels."""
        return self.facts.width

    def shown_at(self, index: int) -> float:
        """When a frame is shown, seconds from the file's beginning, where its sound starts."""
        at = float(self.times[index]) if self.facts.variable_rate else index / self.fps
        return self.facts.start_seconds + at

    def sampled(
        self, sample_stride: int, start_frame: int = 0, max_frames: int | None = None
    ) -> list[int]:
        """Indices of the frames that reading parameters choose, by time where the rate varies.

        Raises:
            UnitError: ``media_unreadable``: they reach beyond the end of a file that is cut off.
        """
        facts = self.facts
        if facts.variable_rate:
            chosen = frames_by_time(self.times, facts.fps, sample_stride, start_frame, max_frames)
        else:
            chosen = sampled_frames(facts.frames, facts.fps, sample_stride, start_frame, max_frames)
        if facts.missing_frames and (max_frames is None or len(chosen) < max_frames):
            # What is left of the last piece may look like a frame.
            first = self.inspect().first_missing
            raise self._damaged(first, sum(index < first for index in chosen))
        return chosen

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, Frame]]:
        """Index and RGB of each frame asked for.

        Ascending indices cost one pass; a step back starts over from the beginning.

        Raises:
            IndexError: An index is outside the video.
            UnitError: A frame cannot be decoded.
        """
        rest, done = iter(indices), 0
        while wanted := list(islice(rest, _REQUESTED)):
            for index, frame in self._read(wanted, done):
                yield index, frame
                done += 1

    def _read(self, wanted: Sequence[int], done: int) -> Iterator[tuple[int, Frame]]:
        for index in wanted:
            if not 0 <= index < self.frame_count:
                raise IndexError(f"frame {index} of {self.frame_count}")
        runs = [(index, len(list(run))) for index, run in groupby(wanted)]
        position = 0
        while position < len(runs):
            try:
                for frame in self._stream([index for index, _ in runs[position:]]):
                    index, repeats = runs[position]
                    position += 1
                    for _ in range(repeats):
                        yield index, frame.copy()
            except FaultError as fault:
                if self.facts.reader == "av":
                    used = done + sum(repeats for _, repeats in runs[:position])
                    raise self._fault(fault, used) from None
                _logger.info("%s: decord: %s; going on with PyAV", self.path, fault)
                self._reader = "av"
                self._start()
            except DecoderLostError as error:
                self._replace(error)
                self._start()

    def _stream(self, indices: list[int]) -> Iterator[Frame]:
        """Frames in shared memory; each is valid until the next one is asked for."""
        self._ready()
        self._streams += 1
        stream = self._streams
        shape = (_AHEAD, self.height, self.width, 3)
        descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, int(np.prod(shape)))
            memory = mmap.mmap(descriptor, int(np.prod(shape)))
            request = {"do": "read", "indices": indices, "slots": _AHEAD}
            self._decoder.send(request, [descriptor])
        finally:
            os.close(descriptor)
        self._streaming = True
        slots = np.frombuffer(memory, np.uint8).reshape(shape)
        try:
            for number in range(len(indices)):
                self._decoder.receive()
                yield slots[number % _AHEAD]
                if stream != self._streams:
                    raise RuntimeError("another reading of this video has begun")
                self._decoder.send({"do": "free"})
            self._decoder.receive()
            self._streaming = False
        except FaultError:
            self._streaming = False
            raise
        finally:
            if stream == self._streams:
                self._stop()

    def _ready(self) -> None:
        """Have a decoder process that waits for a request about this video."""
        self._stop()
        if not self._decoder.alive:
            self._decoder = take_decoder(self._compute)
            self._start()

    def _stop(self) -> None:
        if self._streaming:
            self._streaming = False
            if self._decoder.alive:
                self._decoder.stop_stream()

    def inspect(self) -> Inspection:
        """Decode the whole video: what is wrong with it, and where scenes begin.

        Raises:
            UnitError: The decoder does not get to its end.
        """
        self._ready()
        while True:
            try:
                found = self._decoder.ask({"do": "inspect"}).header["found"]
                return Inspection(**{**found, "scene_cuts": tuple(found["scene_cuts"])})
            except FaultError as fault:
                raise unit_error(self.path, fault) from None
            except DecoderLostError as error:
                self._replace(error)
                self._start()

    def _fault(self, fault: FaultError, used: int) -> UnitError:
        if fault.missing is None:
            return unit_error(self.path, fault)
        return self._damaged(fault.missing, used)

    def _damaged(self, first: int, used: int) -> UnitError:
        total = self.facts.frames + self.facts.missing_frames
        return UnitError(Reason.MEDIA_UNREADABLE, damage_message(self.path, first, total, used))

    def close(self) -> None:
        """Let go of the decoder process."""
        self._stop()
        if not self._decoder.alive:
            return
        try:
            self._decoder.ask({"do": "close"})
        except (FaultError, DecoderLostError):
            self._decoder.kill()
        else:
            give_back(self._decoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
