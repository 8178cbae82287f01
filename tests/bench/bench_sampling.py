"""Sampling with everything constant computed once, beside the plain form, in one run.

``python -m pytest tests/bench/bench_sampling.py -m bench -s``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.sample.clip import condition_clip, sample_clip
from dispose_stages.sample.denoise import denoise, initial_state
from dispose_stages.sample.guidance import guidance_scales
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.noise import repeat_to_length
from dispose_stages.sample.schedule import noise_levels
from dispose_stages.sample.shortcuts import StepKind
from dispose_stages.sample.tiles import Tile, TileBlender
from tests.bench.size import size
from tests.sample.tiny_clip import (
    PARAMETERS,
    plain_predict,
    tiny_inputs,
    tiny_networks,
    tiny_noise,
)

FRAMES = size(7, 5)
REPEATS = size(5, 1)
RUNG = Rung("single_tile", 1)


def sample_once() -> Tensor:
    """The package's way."""
    return sample_clip(tiny_inputs(FRAMES), tiny_networks(), PARAMETERS, tiny_noise(), RUNG)


def sample_plainly() -> Tensor:
    """Every condition of every tile anew at every step."""
    inputs, networks = tiny_inputs(FRAMES), tiny_networks()
    image_noise, tile_noise = tiny_noise()
    conditions, embedding = condition_clip(inputs, networks, PARAMETERS, image_noise, RUNG)

    def predict(noisy: Tensor, timestep: Tensor, tiles: Sequence[Tile], _: Any) -> list[Tensor]:
        return [
            plain_predict(
                inputs,
                networks,
                PARAMETERS,
                image_latent=conditions.image,
                embedding=embedding,
                noisy=noisy[tile.index],
                tile=tile.frames.tolist(),
                timestep=timestep,
            )
            for tile in tiles
        ]

    levels = noise_levels(PARAMETERS.num_inference_steps, *networks.noise_range)
    tiles = plan_tiles(FRAMES, PARAMETERS.tile_size, PARAMETERS.tile_overlap)
    return denoise(
        initial_state(repeat_to_length(tile_noise, FRAMES), levels),
        predict,
        levels,
        TileBlender(tiles, FRAMES, device="cpu"),
        guidance_scales(PARAMETERS.guidance_min, PARAMETERS.guidance_max, FRAMES),
        kinds=[StepKind()] * PARAMETERS.num_inference_steps,
    )


def seconds(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Best CPU time of a few runs, and the result."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return best, result


@pytest.mark.bench
def test_once_per_clip_beside_the_plain_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints CPU seconds of both and their ratio; the latents agree."""
    with torch.no_grad():
        once, latents = seconds(sample_once)
        plain, expected = seconds(sample_plainly)
    with capsys.disabled():
        print(f"\nplain {plain:.3f} s, once per clip {once:.3f} s: {plain / once:.2f} times")  # noqa: T201
    assert (latents - expected).norm() <= 1e-3 * expected.norm()
