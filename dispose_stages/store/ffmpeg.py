"""The ffmpeg program: where it is, and what it says about a file."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dispose_stages.errors import DeviceError, Reason, UnitError

_HEADER_SECONDS = 30
_CONTAINER = re.compile(r"^Input #0, ([\w,]+), from ", re.MULTILINE)
_VIDEO = re.compile(r"^ +Stream #0:\d+.*?: Video: (.*)$", re.MULTILINE)
_AUDIO = re.compile(r"^ +Stream #0:\d+.*?: Audio: (\w+)", re.MULTILINE)
_SIZE = re.compile(r", (\d{1,7})x(\d{1,7})\b")
_ROTATION = re.compile(r"rotation of (-?\d+(?:\.\d+)?) degrees")


@cache
def ffmpeg_binary() -> str:
    """Path of ffmpeg: the one on the search path, else the one that imageio-ffmpeg brings.

    Raises:
        DeviceError: There is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DeviceError(
            "no ffmpeg program: install ffmpeg, or `pip install imageio-ffmpeg`"
        ) from error


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a file's header says, without decoding.

    Attributes:
        container: Comma-separated names of the format, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``.
        codec: Of the first video stream; empty if there is none.
        height: Stored (before rotation), pixels; 0 if unknown.
        width: Likewise.
        rotation: Degrees clockwise that make the picture upright: 0, 90, 180 or 270.
        audio_codec: Of the first audio stream; empty if there is none.
    """

    container: str
    codec: str
    height: int
    width: int
    rotation: int
    audio_codec: str


def read_header(path: Path) -> StreamHeader:
    """Ask ffmpeg about a file; only files are opened, whatever the content points to.

    Raises:
        UnitError: ``media_unreadable``: ffmpeg does not recognise the file or does not come back;
            ``media_unsupported``: it holds no video.
    """
    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file"]
    try:
        outcome = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            [*command, "-i", f"file:{path.absolute()}"],
            capture_output=True,
            check=False,
            timeout=_HEADER_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{path}: its header could not be read in {_HEADER_SECONDS} s"
        raise UnitError(Reason.MEDIA_UNREADABLE, message) from error
    text = outcome.stderr.decode(errors="replace")
    container = _CONTAINER.search(text)
    if container is None:
        raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: {_last_complaint(text)}")
    video, audio = _VIDEO.search(text), _AUDIO.search(text)
    if video is None:
        raise UnitError(Reason.MEDIA_UNSUPPORTED, f"{path}: the file holds no video")
    size = _SIZE.search(video[1])
    rotation = _ROTATION.search(text, video.end())
    return StreamHeader(
        container=container[1],
        codec=video[1].split(",")[0].split(" ")[0],
        height=int(size[2]) if size else 0,
        width=int(size[1]) if size else 0,
        # ffmpeg states the angle counter-clockwise.
        rotation=round(-float(rotation[1]) / 90) * 90 % 360 if rotation else 0,
        audio_codec=audio[1] if audio else "",
    )


def _last_complaint(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [
        line for line in lines if not line.startswith(("Error opening input file", "At least"))
    ]
    return re.sub(r"^\[[^\]]*\] ", "", lines[-1]) if lines else "ffmpeg cannot open it"
