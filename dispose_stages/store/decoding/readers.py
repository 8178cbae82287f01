"""Opens a video, finds out what is known of it, and decides which library reads its frames."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from dispose_stages.errors import Reason
from dispose_stages.store.decoding.av_reader import AvReader
from dispose_stages.store.decoding.container import Video
from dispose_stages.store.decoding.decord_reader import DecordReader
from dispose_stages.store.decoding.facts import Inspection, ReaderName, VideoFacts
from dispose_stages.store.decoding.faults import MediaFaultError
from dispose_stages.store.decoding.index import FrameIndex, read_index
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.orientation import orientation

_logger = logging.getLogger(__name__)
_DECORD_CONTAINERS = frozenset({"mov", "matroska", "avi", "flv", "asf"})
"""In the others decord counts or begins wrongly (measured on program and transport streams)."""
_WRONG_PICTURE = 8.0
"""Mean difference of two decodings of one frame, grey levels, that is no matter of rounding."""

Rgb = UInt8[np.ndarray, "h w 3"]


class FrameReader(Protocol):
    """Reads frames by number, fast in ascending order."""

    def read(self, index: int) -> Rgb:
        """A frame, upright and with square pixels.

        Raises:
            MediaFaultError: It cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class OpenVideo:
    """A video whose frames can be read.

    Args:
        wanted: Reader that is to be used; ``auto`` decides.

    Raises:
        MediaFaultError: It cannot be read as a video.
    """

    def __init__(self, path: str, wanted: Literal["auto"] | ReaderName, limits: SizeLimits) -> None:
        self._index = read_index(path, limits)
        self.times = self._index.times
        self.facts = _facts(path, self._index)
        limits.check(self.facts.height, self.facts.width)
        self._av = AvReader(path, self._index, self.facts)
        self._reader: FrameReader = self._av
        if wanted != "av" and (decord := self._decord(path)):
            self._reader = decord
            self.facts = replace(self.facts, reader="decord")

    def _decord(self, path: str) -> DecordReader | None:
        """Decord, if it reads this file and rightly."""
        facts = self.facts
        if not facts.ordinary or find_spec("decord") is None:
            return None
        try:
            reader = DecordReader(path)
            if len(reader) != facts.frames:
                return None
            theirs, ours = reader.read(0), self._av.picture(self._index.first_frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, PyAV reads the file
            _logger.info("decord does not read it: %s", error)
            return None
        if theirs.shape != ours.shape:
            return None
        difference = np.abs(theirs.astype(np.int16) - ours).mean()
        return reader if difference < _WRONG_PICTURE else None

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Index and RGB of each frame."""
        for index in indices:
            yield index, self._reader.read(index)

    def inspect(self) -> Inspection:
        """See `AvReader.inspect`."""
        return self._av.inspect()

    def close(self) -> None:
        """Release the file."""
        self._reader.close()
        self._av.close()


def _facts(path: str, index: FrameIndex) -> VideoFacts:
    frame = index.first_frame
    with Video(path) as video:
        container = video.container
        sounds = [s.codec_context for s in container.streams.audio if s.codec_context]
        names = container.format.name, video.stream.codec_context.codec.canonical_name
        shown_at = float(video.stream.time_base or 0) * (frame.pts or 0)
        # An AVI has no time stamps; those that are made up for it begin with the decoder's delay.
        late = 0.0 if names[0] == "avi" else shown_at - (container.start_time or 0) / 1e6
        aspect = float(video.stream.sample_aspect_ratio or 1)
    stored = stored_size(frame.height, frame.width, aspect)
    rotation, mirrored = orientation(_display_matrix(frame))
    height, width = stored[::-1] if rotation in {90, 270} else stored
    start_seconds = late if late >= 0.5 / index.fps else 0.0
    return VideoFacts(
        container=names[0],
        codec=names[1],
        audio_codec=sounds[0].codec.canonical_name if sounds else "",
        reader="av",
        height=height,
        width=width,
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect=aspect,
        frames=len(index.times),
        fps=index.fps,
        variable_rate=index.variable_rate,
        start_seconds=start_seconds,
        hidden_frames=index.hidden,
        missing_frames=index.missing,
        ordinary=(
            bool(_DECORD_CONTAINERS & set(names[0].split(",")))
            and index.rate_is_stated
            and not (index.hidden or index.missing or mirrored or start_seconds)
            and stored == (frame.height, frame.width)
        ),
    )


def stored_size(height: int, width: int, sample_aspect: float) -> tuple[int, int]:
    """Size with square pixels: the side that is too short grows, as in players; none shrinks.

    Raises:
        MediaFaultError: The ratio is absurd.
    """
    if abs(sample_aspect - 1) < 0.01:  # sizes that were rounded
        return height, width
    if not 1 / 64 <= sample_aspect <= 64:
        message = f"pixels {sample_aspect:g} times as wide as high"
        raise MediaFaultError(Reason.MEDIA_UNSUPPORTED, message)
    if sample_aspect > 1:
        return height, max(1, round(width * sample_aspect))
    return max(1, round(height / sample_aspect)), width


def _display_matrix(frame: VideoFrame) -> bytes:
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return bytes(matrix or b"")
