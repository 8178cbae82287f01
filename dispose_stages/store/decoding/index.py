"""Which frames of a video are shown, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Float64

from dispose_stages.errors import Reason
from dispose_stages.store.decoding.container import Hole, Packet, Video
from dispose_stages.store.decoding.faults import MediaFaultError
from dispose_stages.store.decoding.limits import SizeLimits

_ONE_PACKET_ONE_FRAME = frozenset(
    {"h264", "hevc", "av1", "vp9", "mjpeg", "png", "prores", "ffv1", "dnxhd", "gif"}
)
_STAMPED = frozenset({"mov", "matroska", "gif"})
"""Containers whose packets say when they are shown; with the codecs above, the packets tell the
frames. All others (hidden reference frames, fields, stamps that are missing or out of order) are
decoded once to find out."""
_PROMISING = frozenset({"mov", "avi"})
"""Containers that say beforehand how many frames they hold."""
_FALLBACK_FPS = 25.0


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video that are shown.

    Attributes:
        stamps: When each is shown, in the stream's time base, ascending; None where the file does
            not say so, frames being known by their number only.
        times: Seconds since the first.
        fps: Average frame rate.
        rate_is_stated: Whether that is the file's own word.
        variable_rate: As in `VideoFacts`.
        ends_at_holes: Whether the first frame that cannot be decoded ends the video, because
            nobody knows which frame it was.
        hidden: Stored pieces that are not shown.
        lost: Of these, how many at the beginning should be shown and cannot be decoded.
        missing: Frames that the file promises and that are not among these, at the end.
        first_frame: The first that is shown.
    """

    stamps: tuple[int, ...] | None
    times: Float64[np.ndarray, "n"]
    fps: float
    rate_is_stated: bool
    variable_rate: bool
    ends_at_holes: bool
    hidden: int
    lost: int
    missing: int
    first_frame: VideoFrame


def read_index(path: str, limits: SizeLimits) -> FrameIndex:
    """Index of a video.

    Raises:
        MediaFaultError: It is no video, or none of its frames can be decoded.
    """
    with Video(path, limits) as video:
        packets = list(video.packets())
        containers = set(video.container.format.name.split(","))
        codec = video.stream.codec_context.codec.canonical_name
        rate = float(video.stream.average_rate or video.stream.guessed_rate or 0)
        promised = video.stream.frames if containers & _PROMISING else 0
        time_base = float(video.stream.time_base or 1 / _FALLBACK_FPS)
    shown = [packet.pts for packet in packets if not packet.hidden]
    stamps = _distinct(shown)
    trusted = codec in _ONE_PACKET_ONE_FRAME and bool(containers & _STAMPED)
    cut_off = 0
    if stamps is not None and trusted:
        with Video(path) as video:
            first, holes = _first_frame(video)
        stamps = [stamp for stamp in stamps if first.pts is None or stamp >= first.pts]
        count = len(stamps)
    else:
        trusted = False
        first, holes, stamps, count, whole = _decode_all(path)
        cut_off = 0 if whole else max(1, len(shown) - count)
    times = None if stamps is None else (np.asarray(stamps, np.float64) - stamps[0]) * time_base
    fps, stated, variable = _rate(rate, count, times, time_base)
    return FrameIndex(
        stamps=None if stamps is None else tuple(stamps),
        times=np.arange(count) / fps if times is None else times,
        fps=fps,
        rate_is_stated=stated,
        variable_rate=variable,
        ends_at_holes=not trusted,
        hidden=max(0, len(packets) - count - cut_off),
        lost=max(holes, _undecoded(packets, first.pts)),
        missing=max(0, promised - _stored(packets, containers)) + cut_off,
        first_frame=first,
    )


def _distinct(stamps: Sequence[int | None]) -> list[int] | None:
    known = sorted({stamp for stamp in stamps if stamp is not None})
    return known if known and len(known) == len(stamps) else None


def _stored(packets: Sequence[Packet], containers: set[str]) -> int:
    # An AVI leaves out frames that repeat the one before; they count in its stamps.
    if "avi" in containers:
        return max([len(packets), *(p.pts + 1 for p in packets if p.pts is not None)])
    return len(packets)


def _undecoded(packets: Sequence[Packet], first: int | None) -> int:
    """Packets that are stored and shown before the first frame that there is.

    What is shown before it and stored behind it refers to what is not there (an open group of
    pictures): files that are cut without being encoded again begin like that.
    """
    stamps = [packet.pts for packet in packets]
    before = packets[: stamps.index(first)] if first in stamps else []
    return sum(p.pts is not None and p.pts < (first or 0) and not p.hidden for p in before)


def _no_frames(hole: Hole | None) -> MediaFaultError:
    if hole is None:
        return MediaFaultError(Reason.NO_FRAMES, "no frames")
    message = "not a single frame can be decoded"
    return MediaFaultError(Reason.MEDIA_UNREADABLE, message, hole.error)


def _first_frame(video: Video) -> tuple[VideoFrame, int]:
    """With the number of holes before it."""
    holes: list[Hole] = []
    for item in video.decoded():
        if isinstance(item, VideoFrame):
            return item, len(holes)
        holes.append(item)
    raise _no_frames(holes[-1] if holes else None)


def _decode_all(path: str) -> tuple[VideoFrame, int, list[int] | None, int, bool]:
    """First frame and holes before it, stamps if trusted, number of frames, if that is all."""
    first, holes, stamps, hole = None, 0, [], None
    with Video(path) as video:
        for item in video.decoded():
            if isinstance(item, VideoFrame):
                first, hole = first or item, None
                stamps.append(item.pts)
            else:
                hole = item
                if first is not None:
                    break
                holes += 1
    if first is None:
        raise _no_frames(hole)
    known = _distinct(stamps)
    return first, holes, known if known == stamps else None, len(stamps), hole is None


def _rate(
    stated: float, count: int, times: Float64[np.ndarray, "n"] | None, resolution: float
) -> tuple[float, bool, bool]:
    """Average frame rate, whether it is the file's own word, and whether the rate varies.

    The file's word counts if it is within 1 % of what the stamps say (and their rounding).
    """
    usable = np.isfinite(stated) and stated > 0
    if times is None or count < 2:
        return (stated if usable else _FALLBACK_FPS), bool(usable), False
    interval = times[-1] / (count - 1)
    off = np.abs(times - interval * np.arange(count)).max()
    variable = bool(off >= interval / 2)
    tolerance = 0.01 + resolution / times[-1]
    if usable and not variable and abs(stated * interval - 1) < tolerance:
        return stated, True, False
    return 1 / interval, False, variable
