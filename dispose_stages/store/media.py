"""Still images, and the facts about a media file that planning needs.

Media come from anywhere: sizes are checked before pixels are decoded, decoding happens in a process
of its own, and every fault of a file is a `UnitError` with a typed reason.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from dispose_stages.config import Compute, Parameters
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.frames import effective_stride
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.pool import ask_once
from dispose_stages.store.files import check_file, file_digest
from dispose_stages.store.video import VideoReader, damage_message, damaged_from
from dispose_stages.wording import counted

_AS_SHOWN = "as shown, 1"
"""Enters the keys of what hangs on a video whose frames differ from those that were read before
time stamps and edit lists counted; raised when such frames change again."""
_DEFAULT_COMPUTE = Compute()
_DEFAULT_SIZES = SizeLimits()


@dataclass(frozen=True, slots=True)
class MediaProbe:
    """What is known of a media file before it is used: of a video `VideoFacts` and `Inspection`.

    Attributes:
        kind: Image, video, or weights of a network, which have a digest and a size only.
        height: Upright, as frames are handed out; pixels.
        width: Upright, as frames are handed out; pixels.
        frames: Number of frames that are shown and stored; 1 for an image.
        fps: Average frame rate; 0 for an image.
        digest: SHA-256 of the file.
        reader: Library that reads it; of a damaged video always ``av``.
        missing_frames: As `Inspection.missing`.
        ordinary: Whether the frames are those that counting stored frames gives.
    """

    kind: Literal["image", "video", "weights"]
    height: int
    width: int
    frames: int
    fps: float
    rotation: int
    digest: str
    size_bytes: int
    reader: str
    codec: str
    variable_rate: bool
    sample_aspect: float
    mirrored: bool
    start_seconds: float
    hidden_frames: int
    missing_frames: int
    first_missing: int
    damaged_frames: int
    ordinary: bool
    scene_cuts: tuple[int, ...] = ()

    @property
    def content_digest(self) -> str:
        """Digest that later results hang on: of the file, and of how it is read where it matters.

        Ordinary files keep the file's own digest, whichever library reads them.
        """
        if self.ordinary:
            return self.digest
        return hashlib.sha256(f"{self.digest} {_AS_SHOWN}".encode()).hexdigest()


def damage_of(path: Path, probe: MediaProbe) -> str:
    """What is wrong with a video, as a line for people; empty where nothing is."""
    parts = []
    if probe.missing_frames:
        total = max(probe.frames, probe.first_missing + probe.missing_frames)
        parts.append(damaged_from(path, probe.first_missing, total))
    if probe.damaged_frames:
        count = counted(probe.damaged_frames, "frame")
        parts.append(f"{count} lost at the beginning or patched up by the decoder")
    return f"{path}: {', '.join(parts)}" if parts else ""


def reading_problem(path: Path, probe: MediaProbe, reading: Parameters) -> str:
    """Why a damaged video cannot be read with these parameters; empty where it can.

    Frames are counted; where the rate varies, that is near enough to foresee what reading says.
    """
    if not probe.missing_frames:
        return ""
    total = max(probe.frames, probe.first_missing + probe.missing_frames)
    stride = effective_stride(reading.sample_stride, probe.fps)
    wanted = range(reading.start_frame, total, stride)[: reading.max_frames]
    used = len(range(reading.start_frame, probe.first_missing, stride))
    if len(wanted) <= used:
        return ""
    return damage_message(path, probe.first_missing, total, used)


def read_image(
    path: Path, compute: Compute = _DEFAULT_COMPUTE, sizes: SizeLimits = _DEFAULT_SIZES
) -> UInt8[np.ndarray, "h w 3"]:
    """An image as upright RGB.

    Orientation tags are applied, transparency is dropped (the colours below it stay), grey and
    palette images are expanded, CMYK is converted, of 16-bit greys the high byte is taken, and of
    an animation the first frame.

    Raises:
        UnitError: The file is missing, empty, damaged, too large or of an unsupported kind.
    """
    path = Path(path).absolute()
    check_file(path)
    answer = ask_once(compute, path, {"do": "image", "limits": astuple(sizes)})
    shape = (answer.header["height"], answer.header["width"], 3)
    return np.frombuffer(answer.payload, np.uint8).reshape(shape)


def read_still(
    path: Path, frame: int | None = None, compute: Compute = _DEFAULT_COMPUTE
) -> UInt8[np.ndarray, "h w 3"]:
    """An image file as upright RGB, or one frame of a video.

    Args:
        frame: Number of the frame among those that are shown; None: the file is an image.

    Raises:
        UnitError: The file cannot be read as such; ``no_frames`` where the video is shorter.
    """
    if frame is None:
        return read_image(path, compute)
    with VideoReader(path, compute=compute) as video:
        check_frame(path, frame, video.frame_count)
        return next(video.frames([frame]))[1]


def check_frame(path: Path, frame: int, count: int) -> None:
    """Refuse a frame that a video does not have.

    Raises:
        UnitError: ``no_frames``.
    """
    if frame >= count:
        raise UnitError(Reason.NO_FRAMES, f"{path}: no frame {frame}, it has {count}")


def probe_file(path: Path) -> MediaProbe:
    """Digest and size of a file that is no medium.

    Raises:
        UnitError: The file is missing, empty or unreadable.
    """
    check_file(path)
    return replace(_image_probe(path, 0, 0), kind="weights", reader="")


def probe_media(
    path: Path,
    *,
    kind: Literal["image", "video"] | None = None,
    compute: Compute = _DEFAULT_COMPUTE,
) -> MediaProbe:
    """Decode a file to its end and say what it holds.

    Args:
        kind: What it is expected to be; None finds out.

    Raises:
        UnitError: It cannot be used as that kind.
    """
    path = Path(path).absolute()
    check_file(path)
    if kind == "image" or (kind is None and _is_still(path, compute)):
        return _image_probe(path, *read_image(path, compute).shape[:2])
    with VideoReader(path, compute=compute) as video:
        facts, found = video.facts, video.inspect()
    return MediaProbe(
        kind="video",
        height=facts.height,
        width=facts.width,
        frames=facts.frames,
        fps=facts.fps,
        rotation=facts.rotation,
        digest=file_digest(path),
        size_bytes=path.stat().st_size,
        reader=facts.reader if found.whole else "av",
        codec=facts.codec,
        variable_rate=facts.variable_rate,
        sample_aspect=facts.sample_aspect,
        mirrored=facts.mirrored,
        start_seconds=facts.start_seconds,
        hidden_frames=facts.hidden_frames,
        missing_frames=found.missing,
        first_missing=found.first_missing,
        damaged_frames=found.damaged,
        ordinary=facts.ordinary and found.whole,
        scene_cuts=found.scene_cuts,
    )


def _is_still(path: Path, compute: Compute) -> bool:
    return bool(ask_once(compute, path, {"do": "is_still"}).header["still"])


def _image_probe(path: Path, height: int, width: int) -> MediaProbe:
    return MediaProbe(
        kind="image",
        height=height,
        width=width,
        frames=1,
        fps=0.0,
        rotation=0,
        digest=file_digest(path),
        size_bytes=path.stat().st_size,
        reader="pillow",
        codec="",
        variable_rate=False,
        sample_aspect=1.0,
        mirrored=False,
        start_seconds=0.0,
        hidden_frames=0,
        missing_frames=0,
        first_missing=-1,
        damaged_frames=0,
        ordinary=True,
    )
