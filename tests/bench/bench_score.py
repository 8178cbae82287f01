"""Seconds to score a clip without weights, and to take a Fréchet distance.

``pytest -m bench tests/bench/bench_score.py -s``. Two threads. The clip is 72 frames of 576 x 1024,
result and truth, as delivered files: decoding is included. Shares are those of one run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from dispose_stages.config import Encoding
from dispose_stages.score import disco, drift, similarity, temporal
from dispose_stages.score.clip import DEFINITIONS, FramePair, clip_values, scan_clip
from dispose_stages.score.frechet import FeatureMoments, frechet_distance
from dispose_stages.score.statistics import estimates
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter
from tests.bench.size import size

pytestmark = pytest.mark.bench

HEIGHT, WIDTH, FRAMES = size((576, 1024, 72), (192, 256, 4))
SAMPLES, FEATURES = size((10_000, 2048), (300, 64))
PAIRS = size(10_000, 100)


def show(capsys, *lines: str) -> None:
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A gliding texture, and a copy with noise."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 12, image.shape, dtype=np.uint8)
    paths = folder / "truth.mp4", folder / "result.mp4"
    for path, added in zip(paths, (0, noise), strict=True):
        with VideoWriter(path, HEIGHT, WIDTH, 15.0, Encoding(preset="veryfast")) as writer:
            for index in range(FRAMES):
                frame = cv2.add(np.roll(image, 3 * index, axis=1), added)
                writer.write(np.ascontiguousarray(frame, dtype=np.uint8))
    return paths


def decoded(paths) -> Iterator[FramePair]:
    with ExitStack() as stack:
        streams = [stack.enter_context(VideoReader(path)).frames(range(FRAMES)) for path in paths]
        for (_, truth), (_, result) in zip(*streams, strict=True):
            yield FramePair(result, truth)


def test_clip(videos, capsys):
    """All measures in one pass, and each alone on one pair of frames."""
    start, spent = time.perf_counter(), os.times()
    values = scan_clip(decoded(videos), DEFINITIONS)
    clip_values(values, np.zeros(FRAMES - 1, dtype=bool))
    # Decoders are processes of their own, which have ended by now.
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - sum(spent[:4])
    frames = [next(decoded(videos)), *decoded(videos)][:3]
    result, truth = frames[-1].result, frames[-1].truth
    assert truth is not None
    alone = {
        "decode both": lambda: list(decoded(videos)),
        "l1, psnr": lambda: (similarity.l1(result, truth), similarity.psnr(result, truth)),
        "ssim, ms-ssim": lambda: similarity.structural_similarity(result, truth),
        "disco ssim": lambda: disco.ssim(result, truth),
        "disco uint8": lambda: disco.psnr_wrapped(result, truth),
        "warping error": lambda: temporal.warping_error(frames[0].result, result),
        "appearance": lambda: drift.appearance(result),
    }
    lines = [f"{FRAMES} frames {HEIGHT}x{WIDTH}: {seconds:.2f} s, {cpu:.2f} s of CPU"]
    for name, work in alone.items():
        spent = time.process_time()
        work()
        used = time.process_time() - spent
        per_frame = used / FRAMES if name == "decode both" else used
        lines.append(f"  {name}: {1000 * per_frame:.1f} ms of CPU a frame")
    show(capsys, *lines)


def test_frechet(capsys):
    """As many features as an evaluation has."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((FEATURES, FEATURES)) / np.sqrt(FEATURES)
    samples = [rng.standard_normal((SAMPLES, FEATURES)) @ mixing for _ in range(2)]
    start = time.perf_counter()
    frechet_distance(*(FeatureMoments.of(sample) for sample in samples))
    show(
        capsys,
        f"Fréchet distance of {SAMPLES:,} x {FEATURES:,}: {time.perf_counter() - start:.1f} s",
    )


def test_intervals(capsys):
    """40 measures of all pairs."""
    values = np.random.default_rng(0).standard_normal((PAIRS, 40))
    start = time.perf_counter()
    estimates(values, [[""] * PAIRS] * 40)
    show(capsys, f"2,000 draws of {PAIRS:,} pairs x 40: {time.perf_counter() - start:.1f} s")
