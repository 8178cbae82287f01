"""Small media files for tests; a frame's number can be read from its pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from dispose_stages.config_encoding import Encoding
from dispose_stages.store.decoding.facts import VideoFacts
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter

HEIGHT, WIDTH = 64, 96
_BITS = 8


def numbered_frame(number: int) -> np.ndarray:
    """A frame whose upper half shows its number as eight black or white columns."""
    frame = np.full((HEIGHT, WIDTH, 3), (200, 40, 40), np.uint8)
    column = WIDTH // _BITS
    for bit in range(_BITS):
        value = 235 if number >> bit & 1 else 20
        frame[: HEIGHT // 2, bit * column : (bit + 1) * column] = value
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that a frame shows."""
    columns = frame[8:24].mean(axis=(0, 2)).reshape(_BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(columns) if value > 128)


def write_clip(path: Path, frames: int, fps: float = 30.0) -> Path:
    """A clip of numbered frames."""
    with VideoWriter(path, (HEIGHT, WIDTH), fps, Encoding(preset="ultrafast")) as writer:
        for number in range(frames):
            writer.write(numbered_frame(number))
    return path


def run_ffmpeg(*arguments: object) -> None:
    """Run ffmpeg, quietly unless it fails.

    Its own one: what a system brings may know less (``-display_rotation`` came with ffmpeg 6).
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def facts_of(path: Path) -> VideoFacts:
    """What is known of a video without reading it."""
    with VideoReader(path) as reader:
        return reader.facts
