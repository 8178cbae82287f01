"""A video file opened with PyAV, and its frames in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dispose_stages.errors import Reason
from dispose_stages.store.decoding.faults import MediaFaultError
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.ticks import tick

_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,gif,mxf"
"""Formats that hold a video themselves; playlists and text formats would open other files."""
_REMEDY = "`ffmpeg -i IN -c:v libx264 -crf 12 -c:a copy OUT.mp4` makes a copy that can be read"


@dataclass(frozen=True, slots=True)
class Packet:
    """A stored piece of a stream, usually a frame.

    Attributes:
        pts: When it is shown, in the stream's time base; None where the file does not say.
        hidden: Whether it is stored and not shown.
    """

    pts: int | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class Hole:
    """A piece of the stream that cannot be decoded."""

    error: Exception


class Video:
    """The video stream of a file.

    Args:
        limits: Largest pictures; checked before a frame is decoded.

    Raises:
        MediaFaultError: The file is no video, nothing here reads its codec, or it is too large.
    """

    def __init__(self, path: str, limits: SizeLimits | None = None) -> None:
        self.container = _open(path)
        try:
            self.stream = _video_stream(self.container)
            if limits is not None:
                context = self.stream.codec_context
                limits.check(context.height, context.width)
        except BaseException:
            self.container.close()
            raise

    def packets(self) -> Iterator[Packet]:
        """Every stored piece; ends early where the file does."""
        try:
            for packet in self.container.demux(self.stream):
                tick()
                if packet.size or packet.dts is not None:
                    yield Packet(packet.pts, packet.is_discard)
        except MemoryError:
            raise
        except av.FFmpegError:
            return

    def decoded(self) -> Iterator[VideoFrame | Hole]:
        """Frames that are shown, and what cannot be decoded, as the decoder gives them."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
            except av.FFmpegError as error:
                yield Hole(error)
                return
            tick()
            try:
                yield from self.stream.decode(packet)
            except av.EOFError:
                return
            except MemoryError:
                raise
            except av.FFmpegError as error:
                yield Hole(error)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _open(path: str) -> InputContainer:
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except av.FFmpegError as error:
        message = "not one of the video formats that are read, or damaged at its beginning"
        raise MediaFaultError(Reason.MEDIA_UNREADABLE, message, error) from error


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if stream is None:
        raise MediaFaultError(Reason.MEDIA_UNSUPPORTED, "the file holds no video")
    context = getattr(stream, "codec_context", None)
    if not isinstance(stream, VideoStream) or context is None:
        message = f"nothing here reads its video codec; {_REMEDY}"
        raise MediaFaultError(Reason.MEDIA_UNSUPPORTED, message)
    context.thread_count = 1
    return stream
