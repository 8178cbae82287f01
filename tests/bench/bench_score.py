"""Seconds and memory to score a clip without weights, and seconds to take a Fréchet distance.

``pytest -m bench tests/bench/bench_score.py -s``. Two threads. The clip is 72 frames of 576 x 1024,
result and truth, as delivered files: decoding is included. Shares are those of one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dispose_stages.artifacts import PoseTrack
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.scores import score_table
from dispose_stages.batch.stage import Context
from dispose_stages.benchmark.damage import load_detector
from dispose_stages.benchmark.manifests import VARIANTS
from dispose_stages.benchmark.records import _CASE, _CASE_PARAMETERS
from dispose_stages.benchmark.rendering import render
from dispose_stages.cli.table import table_of
from dispose_stages.config_encoding import Encoding
from dispose_stages.models.whole_body.extraction import extract_poses
from dispose_stages.pose.stage import PoseWorker
from dispose_stages.score import disco, drift, similarity, temporal
from dispose_stages.score.clip import DEFINITIONS, FramePair, clip_values, scan_clip
from dispose_stages.score.frechet import FeatureMoments, frechet_distance
from dispose_stages.score.groups import measure_pose
from dispose_stages.shipped import shipped
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
        with VideoWriter(path, (HEIGHT, WIDTH), 15.0, Encoding(preset="veryfast")) as writer:
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


def test_redetection(videos, capsys):
    """The pose found again and compared, beside what the stage `pose` takes for the same frames."""
    networks = load_detector(shipped("bundles/small"))
    context = SimpleNamespace(say_step=lambda *_: None, stop_requested=lambda: False)
    spent, tracks = [], []

    def pose(path):
        worker = PoseWorker(networks, cast("Context", context))
        tracks.append(worker.compute(video=VideoReader(path), indices=list(range(FRAMES))))

    def again(path):
        with VideoReader(path) as video:
            found = [frame for _, frame in extract_poses(video.frames(range(FRAMES)), networks)]
        track = PoseTrack.from_frames(found, list(range(FRAMES)), HEIGHT, WIDTH, 0.0)
        measure_pose(track, tracks[0], np.zeros(FRAMES, np.int64))

    for work in (pose, again, pose, again):
        start = time.perf_counter(), sum(os.times()[:4])
        work(videos[1])
        spent.append((time.perf_counter() - start[0], sum(os.times()[:4]) - start[1]))
    lines = [
        f"{name}: {1000 * wall / FRAMES:.1f} ms a frame, {1000 * cpu / FRAMES:.1f} ms of CPU"
        for name, (wall, cpu) in zip(("stage pose", "found again") * 2, spent, strict=True)
    ]
    show(capsys, *lines)


MEASURED = """
import resource, sys
from pathlib import Path
from dispose_stages.score.clip import DEFINITIONS, FramePair, scan_clip
from dispose_stages.store.video import VideoReader
with VideoReader(Path(sys.argv[1])) as video:
    frames = (FramePair(frame, frame) for _, frame in video.frames(range(int(sys.argv[2]))))
    scan_clip(frames, DEFINITIONS)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory(tmp_path, capsys):
    """Peak of a process that scores a long video and the beginning of it."""
    long, short = size((10_000, 500), (60, 30))
    path = tmp_path / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    with VideoWriter(path, (96, 64), 30.0, Encoding(preset="ultrafast")) as writer:
        for index in range(long):
            writer.write(np.ascontiguousarray(noise[:, index % 64 : index % 64 + 64]))
    peaks = {}
    for frames in (short, long):
        command = [sys.executable, "-c", MEASURED, str(path), str(frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[frames] = int(done.stdout) / 1024
    lines = [f"{frames:,} frames 96x64: peak {peak:.0f} MiB" for frames, peak in peaks.items()]
    show(capsys, *lines, f"{peaks[long] / peaks[short]:.2f} times as much")


def test_frechet(capsys):
    """As many features as an evaluation has."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((FEATURES, FEATURES)) / np.sqrt(FEATURES)
    samples = [rng.standard_normal((SAMPLES, FEATURES)) @ mixing for _ in range(2)]
    start, spent = time.perf_counter(), time.process_time()
    frechet_distance(*(FeatureMoments.of(sample) for sample in samples))
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    show(
        capsys,
        f"Fréchet distance of {SAMPLES:,} x {FEATURES:,}: {seconds:.1f} s, {cpu:.1f} s of CPU",
    )


@pytest.fixture
def scored(tmp_path):
    """A run's index and scores: 40 measures of every pair, four variants of a case."""
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    rng = np.random.default_rng(0)
    pairs = [f"p{number}" for number in range(PAIRS)]
    index = {
        name: ["x"] * PAIRS for name in (*_CASE, *(f"parameter_{n}" for n in _CASE_PARAMETERS))
    }
    index["parameter_seed"] = [number // 4 for number in range(PAIRS)]
    media = {"driving_video": ["d.mp4"] * PAIRS, "reference_image": ["i.png"] * PAIRS}
    pq.write_table(pa.table({"pair_id": pairs, **index, **media}), layout.index)
    rows = [
        {
            "pair_id": pair,
            "variant": list(VARIANTS)[number % 4],
            "group": "frames",
            "metric": f"m{metric}",
            "value": value if number % 97 else None,
            "reason": None if number % 97 else "no_truth",
            "protocol": "p",
        }
        for number, pair in enumerate(pairs)
        for metric, value in enumerate(rng.standard_normal(40).tolist())
    ]
    pq.write_table(score_table(rows), layout.scores)
    return layout.root


def test_table(scored, capsys):
    """From the files to the text: means, paired differences, intervals of 2,000 draws."""
    start, spent = time.perf_counter(), time.process_time()
    text = render(table_of([scored], ["variant"]), "md")
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    assert text.count("m39") >= 2
    show(capsys, f"table of {PAIRS:,} pairs x 40: {seconds:.1f} s, {cpu:.1f} s of CPU")
