"""Motion and correspondence of one pair, beside straightforward implementations.

``pytest tests/bench/bench_motion.py -m bench -s``. Every variant runs in a process of its own, one
after another in one run; figures are printed with their ratio and nothing is asserted of them. On a
CPU the DIFT networks are of toy size, on a GPU all networks have their published sizes; weights are
the formula of the recordings, which no figure depends on.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dispose_stages.correspondence.features import (
    FeatureNoise,
    diffusion_features,
    draw_noise,
    network_image,
)
from dispose_stages.geometry.tracks import frame_to_frame, pixel_track
from dispose_stages.geometry.trajectory import gaussian_weights, trajectory_field
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.dift import DiftNetwork
from dispose_stages.motion.propagation import propagate_flow, sparse_impulses
from dispose_stages.weights.loading.dift import load_dift
from tests.bench.size import size
from tests.parity.families.motion import formula_cmp
from tests.toy_sd import write_toy_sd

pytestmark = pytest.mark.bench

HEIGHT, WIDTH = size((1024, 576), (256, 192))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLIP = size(72, 2)
FRAMES = CLIP if DEVICE == "cuda" else size(8, 2)
"""Frames of CMP; its cost is linear in them but for the one image."""
FILTERED_FRAMES = size(16, 2)


def _poses(frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 0.01, (frames + 1, 18, 2)).cumsum(axis=0)
    return np.clip(rng.random((18, 2)) + steps, 0, 1), rng.random((frames + 1, 18)) > 0.1


def _image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds and peak MiB of the second call; the first warms up."""
    call()
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if DEVICE == "cuda":
        return seconds, torch.cuda.max_memory_allocated() / 2**20, result
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, result


def flow(batched: int, output: str) -> tuple[float, float]:
    """CMP over a clip: the image once and frames in batches, or the whole network per frame."""
    network = formula_cmp(prefix="cmp.", salt="bench").to(DEVICE)
    impulses = sparse_impulses(*_poses(FRAMES), HEIGHT, WIDTH, compat="official")
    image = _image()

    def run(first: int, last: int, batch: int) -> np.ndarray:
        part = impulses[first:last]
        return np.concatenate(
            list(propagate_flow(network, image, part, batch=batch, device=DEVICE))
        )

    def plain() -> np.ndarray:
        return np.concatenate([run(i, i + 1, 1) for i in range(FRAMES)])

    with full_float32():
        seconds, peak, result = _timed((lambda: run(0, FRAMES, batched)) if batched else plain)
    np.save(output, result)
    return seconds, peak


def trajectory(outer: int, output: str) -> tuple[float, float]:
    """The trajectory field by outer products, or by filtering with the 199 x 199 kernel."""
    points, visible = _poses(FILTERED_FRAMES)

    def ours() -> np.ndarray:
        field = trajectory_field(
            points,
            visible,
            HEIGHT,
            WIDTH,
            compat="official",
            device=DEVICE,
            dtype=torch.float32,
        )
        return field.cpu().numpy()

    def plain() -> np.ndarray:
        track = pixel_track(points, visible, HEIGHT, WIDTH)
        impulses = frame_to_frame(track, visible, compat="official")
        kernel = np.outer(gaussian_weights(), gaussian_weights())
        fields = []
        for frame in range(FILTERED_FRAMES):
            image = np.zeros((HEIGHT, WIDTH, 2))
            for keypoint in np.flatnonzero(impulses.written[frame]):
                place = impulses.rows[frame, keypoint], impulses.columns[frame, keypoint]
                image[place] = impulses.displacement[frame, keypoint]
            filtered = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            fields.append(filtered.transpose(2, 0, 1).astype(np.float32))
        return np.stack(fields)

    seconds, peak, result = _timed(ours if outer else plain)
    np.save(output, result)
    return seconds, peak


def features(once: int, output: str) -> tuple[float, float]:
    """One VAE encode and one UNet batch, or an encode of eight equal images and eight passes."""
    height, width = (HEIGHT, WIDTH) if DEVICE == "cuda" else (256, 192)
    image = np.ascontiguousarray(_image()[:height, :width])
    noise = draw_noise(0, 8, height, width)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_toy_sd(Path(temporary) / "sd", full_size=DEVICE == "cuda")
        network = load_dift(folder, prompt="photo of a human", device=DEVICE)
    with full_float32():
        call = _once if once else _eight_times
        seconds, peak, result = _timed(lambda: call(network, image, noise))
    np.save(output, result.cpu().numpy())
    return seconds, peak


def _once(network: DiftNetwork, image: np.ndarray, noise: FeatureNoise) -> torch.Tensor:
    return diffusion_features(
        network, image, noise, timestep=261, batch=8, device=DEVICE, dtype=torch.float32
    )


@torch.inference_mode()
def _eight_times(network: DiftNetwork, image: np.ndarray, noise: FeatureNoise) -> torch.Tensor:
    images = network_image(image).to(DEVICE).expand(8, -1, -1, -1)
    mean, deviation = network.posterior(images)
    latents = mean + deviation * noise[0].to(DEVICE)
    noisy = network.noisy(latents, noise[1].to(DEVICE), 261)
    return torch.stack([network.features(draw[None], 261)[0] for draw in noisy]).mean(dim=0)


def _measure(folder: Path, function: str, variant: int) -> tuple[float, float, np.ndarray]:
    output = folder / f"{function}_{variant}.npy"
    script = (
        "import json, sys; from tests.bench import bench_motion as b; "
        f"print(json.dumps(b.{function}({variant}, sys.argv[1])))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(output)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    seconds, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, peak, np.load(output)


@pytest.mark.parametrize(
    ("function", "variant", "frames", "unit"),
    [("flow", 16, FRAMES, "px"), ("trajectory", 1, FILTERED_FRAMES, "px"), ("features", 1, 1, "")],
)
def bench_beside_the_plain_way(
    tmp_path: Path, function: str, variant: int, frames: int, unit: str
) -> None:
    """Seconds, peak memory, ratio, and the largest difference of both results."""
    plain_seconds, plain_peak, plain = _measure(tmp_path, function, 0)
    seconds, peak, ours = _measure(tmp_path, function, variant)
    difference = float(np.abs(ours.astype(np.float64) - plain).max())
    sys.stdout.write(
        f"\n{function} on {DEVICE}, {frames} frame(s): {seconds:.3f} s, peak {peak:.0f} MiB; "
        f"plain {plain_seconds:.3f} s, peak {plain_peak:.0f} MiB; "
        f"{plain_seconds / seconds:.2f} x; {seconds / frames * 1e3:.1f} beside "
        f"{plain_seconds / frames * 1e3:.1f} ms per frame; "
        f"largest difference {difference:.2g} {unit} of {np.abs(plain).max():.3g}\n"
    )
