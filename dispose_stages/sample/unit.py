"""A unit of ``sample``: a clip at sampling parameters."""

from __future__ import annotations

import math
from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Compat, Parameters
from dispose_stages.config_sampling import Interval, Precision, Solver

REVISION = 2
"""Raised when the numbers this stage computes change."""


class SampleParams(Params):
    """What decides the latents."""

    resolution: int
    seed: int
    tile_size: int
    tile_overlap: int
    num_inference_steps: int
    guidance_min: float
    guidance_max: float
    noise_aug_strength: float
    compat: Compat
    motion_guidance: bool
    correspondence_guidance: bool
    precision: Precision
    noise: Literal["cpu", "device"]
    control_scale: float = 1.0
    motion_bucket_id: int = 127
    condition_fps: int = 7
    solver: Solver = "euler"
    guidance_interval: Interval | None = None
    cache_interval: int = 1
    reference_frame: int | None = None

    @property
    def guided(self) -> bool:
        """Whether any frame's guidance scale exceeds 1.

        Otherwise only the conditional half is run: a scale of 1 returns exactly that half. (The
        original fails there, golden Q3.) A scale below 1 would weaken the condition; it is read
        as 1, as in the field's pipelines.
        """
        return max(self.guidance_min, self.guidance_max) > 1.0


def work(parameters: Parameters, frames: float, _role: str) -> float:
    """Frames in tiles, their size, and how often each goes through the networks."""
    frames += 1  # the reference opens every tile
    size, step = parameters.tile_size, parameters.tile_size - parameters.tile_overlap
    tiles = max(1, 1 + math.ceil((frames - size) / step))
    halves = 2 if max(parameters.guidance_min, parameters.guidance_max) > 1.0 else 1
    steps = parameters.num_inference_steps * halves
    return tiles * min(frames, size) * parameters.resolution**2 * steps


def plan(row: RowPlan) -> None:
    """The latents of a row's clip."""
    params = SampleParams.of(
        row.row.parameters, row.config.sampling, reference_frame=row.row.reference_frame
    )
    reads = {"media": "ingest_image", "motion": "motion", "correspondence": "correspondence"}
    row.add(
        "sample",
        params,
        label=row.row.label,
        near=row.row.clip,
        apart=params.text(),
        sources={"image": row.row.reference_image},
        reads={of: role for of, role in reads.items() if role in row.units},
    )
