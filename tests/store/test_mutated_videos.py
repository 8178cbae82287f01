"""Small videos with flipped, moved, cut and repeated bytes through ingest and reading."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.config import Compute
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.media import probe_media
from dispose_stages.store.video import VideoReader
from tests.store.clips import run_ffmpeg, write_clip

FORMATS = {
    "avi": ["-c:v", "mpeg4", "-bf", "1", "-q:v", "5"],
    "mp4": ["-c:v", "libx264", "-g", "5"],
    "mkv": ["-c:v", "libx264", "-g", "5"],
    "webm": ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-b:v", "200k"],
}
HEAD = 1500
"""Bytes at the beginning of a file, where a change does most."""


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one kind of damage."""
    data = np.frombuffer(content, np.uint8).copy()
    end = len(data) if rng.random() < 0.4 else min(HEAD, len(data))
    at = int(rng.integers(0, end))
    span = slice(at, at + int(rng.integers(1, 64)))
    match rng.integers(0, 6):
        case 0:
            data[at] ^= 1 << rng.integers(0, 8)
        case 1:
            data[rng.integers(0, end, size=8)] = rng.integers(0, 256, size=8)
        case 2:
            data[span] = 0xFF if rng.random() < 0.5 else 0
        case 3:
            data = np.delete(data, span)
        case 4:
            data = np.concatenate([data[:at], data[span], data[at:]])
        case _:
            data = data[: rng.integers(1, len(data))]
    return data.tobytes()


def outcome(path: Path, compute: Compute) -> str:
    """What comes of probing a file, and of reading all its frames."""
    try:
        probe = probe_media(path, kind="video", compute=compute)
        with VideoReader(path, reader=probe.reader, compute=compute) as video:
            for _, frame in video.frames(video.sampled(1)):
                assert frame.shape == (probe.height, probe.width, 3)
    except UnitError as error:
        return str(error.reason)
    return "damaged" if probe.damaged_frames else "read"


def sweep(folder: Path, count: int) -> Counter[str]:
    """Outcomes of so many mutations, the same in every run."""
    clip = write_clip(folder / "clip.mp4", 8)
    rng = np.random.default_rng(13)
    outcomes: Counter[str] = Counter()
    compute = Compute(decode_timeout=20)
    for number in range(count):
        suffix = list(FORMATS)[number % len(FORMATS)]
        whole = folder / f"whole.{suffix}"
        if not whole.exists():
            run_ffmpeg("-i", clip, "-pix_fmt", "yuv420p", *FORMATS[suffix], whole)
        path = folder / f"mutated.{suffix}"
        path.write_bytes(mutated(whole.read_bytes(), rng))
        outcomes[outcome(path, compute)] += 1
    return outcomes


def check(outcomes: Counter[str], count: int) -> None:
    """Every file has an outcome of its own; some are read, some are not."""
    assert outcomes.total() == count
    expected = {"read", "damaged", Reason.MEDIA_UNREADABLE, *Reason}
    assert set(outcomes) <= expected
    assert {"read", "media_unreadable"} <= set(outcomes)
    assert not {Reason.INTERNAL, Reason.OUT_OF_MEMORY} & set(outcomes)


def test_sixty_mutated_videos(tmp_path: Path) -> None:
    """None takes the job down or holds it up."""
    check(sweep(tmp_path, 60), 60)


@pytest.mark.slow
def test_three_thousand_mutated_videos(tmp_path: Path, record_property) -> None:
    """None takes the job down or holds it up."""
    outcomes = sweep(tmp_path, 3000)
    record_property("outcomes", dict(outcomes))
    check(outcomes, 3000)
