"""Sampling: schedule, tiles, guidance, the denoising loop, and everything end to end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from dispose_stages.errors import ConfigError
from dispose_stages.geometry.tiles import tile_indices
from dispose_stages.models.video_decoder import to_bytes
from dispose_stages.sample import schedule
from dispose_stages.sample.guidance import guidance_scales
from dispose_stages.sample.reference import as_seen_by_sampler
from dispose_stages.sample.tiles import tile_weights
from tests.parity.case import Case, Check, Family, max_abs, relative_to_peak


def _mismatches(name: str, pairs: list[tuple[object, object]]) -> Check:
    return Check(name, float(sum(actual != expected for actual, expected in pairs)), 0.0)


def _tiles_or_error(frames: int, size: int, overlap: int) -> list[list[int]] | str:
    try:
        return tile_indices(frames, size, overlap)
    except ConfigError:
        return "error"


def replay_tile_indices(case: Case) -> Iterator[Check]:
    """The original raises for clips shorter than a tile; here they are one tile."""
    frames, flows = [], []
    for entry in case.json["cases"]:
        count, size, overlap = entry["num_frames"], entry["tile_size"], entry["overlap"]
        actual = _tiles_or_error(count, size, overlap)
        expected = entry.get("indices", entry.get("error", "error"))
        if not isinstance(expected, list):
            expected = [list(range(count))] if count < size and overlap < size else "error"
        frames.append((actual, expected))
        if isinstance(entry.get("flow_indices"), list) and isinstance(actual, list):
            flow = [[frame - 1 for frame in tile[1:]] for tile in actual]
            flows.append((flow, entry["flow_indices"]))
    yield _mismatches("indices", frames)
    yield _mismatches("flow_indices", flows)


def replay_tile_weights(case: Case) -> Iterator[Check]:
    """Arrays named ``w<size>``."""
    for key in case.keys():  # noqa: SIM118 - not a mapping
        expected = case[key]
        yield Check(key, max_abs(tile_weights(len(expected)), expected), 0.0)


def replay_guidance(case: Case) -> Iterator[Check]:
    """Arrays named ``g_<min>_<max>_<frames>``."""
    for key in case.keys():  # noqa: SIM118 - not a mapping
        lowest, highest, frames = key.split("_")[1:]
        scales = guidance_scales(float(lowest), float(highest), int(frames))
        yield Check(key, max_abs(scales[None, :, None, None, None], case[key]), 0.0)


def replay_pixel_roundtrip(case: Case) -> Iterator[Check]:
    """What the sampler sees of every grey level, and how frames become bytes."""
    levels = torch.from_numpy(case["u8"])
    image = levels[None, None].expand(3, 1, -1)
    for dtype in (torch.float32, torch.float16):
        name = f"back_{str(dtype).rsplit('.', 1)[-1]}"
        if name in case:
            seen = as_seen_by_sampler(image, compat="official", dtype=dtype)[0, 0]
            yield Check(name, max_abs(seen, case[name]), 0.0)
    frames = to_bytes(torch.from_numpy(case["frame_in"]))
    yield Check("frame_u8", max_abs(frames, case["frame_u8"]), 0.0)


def replay_euler(case: Case) -> Iterator[Check]:
    """Noise levels of several lengths, and one run step by step."""
    lowest, highest = (case.meta["config"][name] for name in ("sigma_min", "sigma_max"))
    names = [key for key in case.keys() if key.startswith("timesteps_")]  # noqa: SIM118
    for steps in (int(name.rsplit("_", 1)[-1]) for name in names):
        levels = schedule.noise_levels(steps, lowest, highest)
        for name, actual in (("timesteps", schedule.timesteps(levels)), ("sigmas", levels)):
            expected = case[f"{name}_{steps}"]
            error = np.abs(actual.numpy() - expected) / np.maximum(np.abs(expected), 1e-12)
            yield Check(f"{name}_{steps}", float(error.max()), 1e-5)
        name = f"init_noise_sigma_{steps}"
        yield Check(name, relative_to_peak(schedule.initial_scale(levels), case[name]), 1e-5)
    predictions = case["step_v"]
    yield from _replay_steps(case, schedule.noise_levels(len(predictions), lowest, highest))


def _replay_steps(case: Case, levels: torch.Tensor) -> Iterator[Check]:
    latents = torch.from_numpy(case["step_x"][0])
    scaled_error = step_error = 0.0
    for index, prediction in enumerate(torch.from_numpy(case["step_v"])):
        scaled = schedule.to_unit_variance(latents, levels[index])
        scaled_error = max(scaled_error, relative_to_peak(scaled, case["step_scaled"][index]))
        latents = schedule.euler_step(latents, prediction, levels[index], levels[index + 1])
        step_error = max(step_error, relative_to_peak(latents, case["step_x"][index + 1]))
    yield Check("step_scaled", scaled_error, 1e-5)
    yield Check("step_x", step_error, 1e-5)


FAMILIES = [
    Family("pure/tile_indices*", replay_tile_indices),
    Family("pure/tile_weights*", replay_tile_weights),
    Family("pure/guidance*", replay_guidance),
    Family("image/pixel_roundtrip*", replay_pixel_roundtrip),
    Family("scheduler/euler*", replay_euler),
]
