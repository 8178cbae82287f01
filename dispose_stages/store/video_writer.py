"""Frames piped into ffmpeg: H.264 in a file that is either whole or not there.

The bytes of the file depend on frames, settings, tags and the ffmpeg build only: the number of
encoder threads is fixed and nothing writes clocks or program versions of the machine.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from jaxtyping import UInt8

from dispose_stages.atomic import replacing
from dispose_stages.config_encoding import Encoding
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.ffmpeg import ffmpeg_binary

_logger = logging.getLogger(__name__)
_TAG = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_COPYABLE_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
_CLOSE_SECONDS = 600
STORAGE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What ffmpeg may say of the disk it writes to; nothing of that is the unit's fault."""
_STDERR_LINES = 20
_HELD_BACK = 3
"""Frames of its input that ffmpeg's ``minterpolate`` needs to have in advance."""
_EXACT_SCALING = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


Audio = tuple[Any, dict[str, Any]]
"""A stream of ffmpeg's, and the options that it is written with."""


class VideoWriter:
    """Context manager that takes frames and commits the file when it is left without an error.

    Args:
        size: Height and width, pixels.
        fps: Frames per second, as they are written.
        resampled: Rate and number of the file's own frames, if they are interpolated from those
            that are written, along their motion.
        tags: Metadata; names are lower-case identifiers, values any text.
        audio: From `audio_stretch`.
        threads: Of the encoder; part of the file's identity.

    Raises:
        ValueError: An odd size with ``yuv420p``, or a tag's name.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: float,
        encoding: Encoding,
        *,
        resampled: tuple[float, int] | None = None,
        tags: Mapping[str, str] | None = None,
        audio: Audio | None = None,
        threads: int = 4,
    ) -> None:
        height, width = size
        if encoding.pixel_format == "yuv420p" and (height % 2 or width % 2):
            raise ValueError(f"{encoding.pixel_format} needs even sizes, not {width} x {height}")
        for name in tags or {}:
            if not _TAG.fullmatch(name):
                raise ValueError(f"{name!r} does not name a tag")
        self.path = path
        self.shape = (height, width, 3)
        self.fps = fps
        self.encoding = encoding
        self.threads = threads
        self.tags = dict(tags or {})
        self.audio = audio
        self.resampled = resampled
        self.frames = 0
        self._complaints: deque[str] = deque(maxlen=_STDERR_LINES)

    def __enter__(self) -> Self:
        self._replacing: AbstractContextManager[Path] = replacing(self.path.absolute())
        temporary = self._replacing.__enter__()
        try:
            self._start(temporary)
        except BaseException as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _start(self, temporary: Path) -> None:
        command = encode_command(temporary, self)
        _logger.debug("%s", command)
        self._ffmpeg = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        # A full stderr pipe would stop ffmpeg, and with it us.
        self._drain = threading.Thread(target=self._read_complaints, daemon=True)
        self._drain.start()

    def _read_complaints(self) -> None:
        stream: IO[bytes] | None = self._ffmpeg.stderr
        if stream is not None:
            with stream:
                self._complaints.extend(line.decode(errors="replace").rstrip() for line in stream)

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append one RGB frame; blocks while the encoder is busy.

        Raises:
            ValueError: The frame has another size or dtype.
            UnitError: ``encode_failed``: ffmpeg has ended; the log has its last lines.
            OSError: ffmpeg has ended because the file cannot be written.
        """
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"a frame of {frame.shape} {frame.dtype}, not {self.shape} uint8")
        if self._ffmpeg.stdin is None:
            raise ValueError("the writer is closed")
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frame).data)
        except (BrokenPipeError, OSError) as error:
            self._ffmpeg.wait(_CLOSE_SECONDS)
            raise self._failure() from error
        self.frames += 1

    def _failure(self) -> UnitError | OSError:
        self._drain.join(_CLOSE_SECONDS)
        lines = " | ".join(self._complaints) or "no message"
        for number in STORAGE_FAULTS:
            if os.strerror(number) in lines:
                return OSError(number, os.strerror(number), str(self.path))
        # Its words hold addresses, which differ from run to run (as does how far it got); a
        # ledger's must not.
        _logger.warning("ffmpeg: %s", lines)
        return UnitError(
            Reason.ENCODE_FAILED,
            f"ffmpeg ended with status {self._ffmpeg.returncode}; its words are in the job's log",
        )

    def _finish(self) -> None:
        if self._ffmpeg.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._ffmpeg.stdin.close()
        if self._ffmpeg.wait(_CLOSE_SECONDS) != 0:
            raise self._failure()
        if self.frames == 0:
            raise UnitError(Reason.NO_FRAMES, f"{self.path.name}: no frame was written")

    def _abort(self) -> None:
        if self._ffmpeg.stdin is not None:
            with contextlib.suppress(OSError):
                self._ffmpeg.stdin.close()
        self._ffmpeg.kill()
        self._ffmpeg.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._close(type(failure), failure)
            raise
        self._close(kind, error)

    def _close(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if error is not None:
            self._abort()
        self._drain.join(_CLOSE_SECONDS)
        if error is None:
            self._replacing.__exit__(None, None, None)
            return
        # The context manager removes the temporary file and raises what it was given again.
        with contextlib.suppress(type(error)):
            self._replacing.__exit__(kind, error, error.__traceback__)


def _tag_arguments(tags: Mapping[str, str]) -> dict[str, str]:
    # The package turns a keyword into one option; a numbered specifier makes it repeatable.
    return {
        f"metadata:g:{number}": f"{name}={value.replace(chr(0), '')}"
        for number, (name, value) in enumerate(sorted(tags.items()))
    }


def encode_command(path: Path, writer: VideoWriter) -> list[str]:
    """Arguments that make ffmpeg read a writer's raw RGB frames from its standard input."""
    import ffmpeg

    (height, width, _), encoding, audio = writer.shape, writer.encoding, writer.audio
    source = ffmpeg.input(
        "pipe:",
        format="rawvideo",
        pix_fmt="rgb24",
        s=f"{width}x{height}",
        framerate=repr(float(writer.fps)),
    )
    picture = _interpolated(source.video, *writer.resampled) if writer.resampled else source.video
    picture = picture.filter(
        "scale", out_color_matrix="bt709", out_range="tv", flags=_EXACT_SCALING
    )
    # Untagged pictures are guessed at by size; these options do not survive a filter graph.
    picture = picture.filter("format", encoding.pixel_format).filter(
        "setparams", colorspace="bt709", color_primaries="bt709", color_trc="bt709", range="tv"
    )
    options: dict[str, Any] = {
        "format": {"mp4": "mp4", "mkv": "matroska"}[encoding.container],
        "vcodec": "libx264",
        "crf": encoding.crf,
        "preset": encoding.preset,
        "threads": writer.threads,
        "map_metadata": -1,
        "fflags": "+bitexact",
        "flags": "+bitexact",
        **_tag_arguments(writer.tags),
    }
    if encoding.container == "mp4":
        options["movflags"] = "+faststart+use_metadata_tags"
    streams = [picture]
    if audio is not None:
        sound, audio_options = audio
        streams.append(sound)
        options.update(audio_options)
    output = ffmpeg.output(*streams, f"file:{path.absolute()}", **options)
    output = output.global_args("-hide_banner", "-nostats", "-loglevel", "error")
    arguments: list[str] = output.overwrite_output().compile(cmd=ffmpeg_binary())
    return arguments


def _interpolated(picture: Any, fps: float, frames: int) -> Any:
    """Frames that fall on one of the file's stay as they are; the others move along the motion.

    The filter holds back the last frames, so a few more follow, which are cut off again. It must
    not look for cuts: there are none, and fast movement would be taken for one.
    """
    longer = picture.filter("tpad", stop=_HELD_BACK, stop_mode="clone")
    moved = longer.filter("minterpolate", fps=repr(fps), mi_mode="mci", scd="none")
    return moved.filter("trim", end_frame=frames)


def audio_stretch(
    path: Path, codec: str, *, start_seconds: float, seconds: float, tempo: float = 1.0
) -> Audio:
    """A stretch of another file's sound.

    Args:
        codec: As its header names it; common ones are copied, others become AAC.
        start_seconds: Where the stretch begins.
        seconds: How long it is.
        tempo: By how much it is sped up to match the picture; other than 1 it is encoded anew.
    """
    import ffmpeg

    track = ffmpeg.input(
        f"file:{path.absolute()}",
        ss=repr(start_seconds),
        t=repr(seconds),
        protocol_whitelist="file",
    ).audio
    if abs(tempo - 1.0) < 1e-3:
        return track, {"acodec": "copy" if codec in _COPYABLE_AUDIO else "aac"}
    return track.filter("atempo", repr(tempo)), {"acodec": "aac"}
