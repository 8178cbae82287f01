"""The part of the configuration that is about diffusion sampling, and what effort means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from dispose_stages.config_models import bundle_defaults
from dispose_stages.config_section import Section

Precision = Literal["fp16", "bf16", "fp32"]
Solver = Literal["euler", "dpmpp_2m"]
Effort = Literal["exact", "fast", "draft"]
STEPS = 25
"""Of the original."""


def _check_order(interval: tuple[float, ...]) -> tuple[float, ...]:
    lowest, highest = interval
    if lowest >= highest:
        raise ValueError("the first noise level must be the lower one")
    return interval


Interval = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...],
    Field(min_length=2, max_length=2),
    AfterValidator(_check_order),
]
"""A lowest and a highest noise level."""


class Sampling(Section):
    """Diffusion sampling, as far as it is not a row's parameter."""

    precision: Precision = "fp16"
    """Weights and activations; on a CPU `fp32` is the fast choice."""
    noise: Literal["cpu", "device"] = "cpu"
    """`cpu`: the same noise on every machine. `device`: the original's draws on a GPU."""
    checkpoint_every: int = Field(default=5, ge=0)
    """Steps between saved states of an unfinished clip; 0: none."""
    tile_batch: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    """Tiles that are denoised in one batch, or `auto`: as the card's memory and the resolution
    suggest; results differ by rounding, keys do not."""
    compile: Literal["auto", "off"] = "auto"
    """`auto`: on a GPU blocks are compiled and steps recorded, which changes rounding but no key.
    `off`: never."""
    effort: Effort = "exact"
    """How much is spent on a clip: `exact` as the original does; `fast` and `draft` set the keys
    below and `parameters.num_inference_steps` where they are not given. What that costs in quality:
    docs/performance.md."""
    solver: Solver = "euler"
    """`euler`: the original's. `dpmpp_2m`: of second order at the same cost per step; on the small
    bundle it is no better (docs/performance.md)."""
    guidance_interval: Interval | None = None
    """Lowest and highest noise level at which guidance is applied; steps outside run one half and
    cost half. Empty: everywhere."""
    cache_interval: int = Field(default=1, ge=1, le=10)
    """1: every step runs the networks whole. 3: every third does; those between run the UNet's
    outermost level only, with what was below it then."""


EFFORTS: Mapping[str, Mapping[str, Any]] = {"fast": {}, "draft": {"cache_interval": 2}}
"""Keys of `Sampling` that each sets."""
EFFORT_STEPS = 0.48
"""Share of the bundle's denoising steps that is left of them by each."""


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the user says, above the effort, above what the bundle's networks are made for."""
    merged = dict(values)
    defaults = {section: dict(part) for section, part in bundle_defaults(values).items()}
    sampling = values.get("sampling", {})
    effort = sampling.get("effort") if isinstance(sampling, Mapping) else None
    if isinstance(effort, str) and effort in EFFORTS:
        parameters = defaults.setdefault("parameters", {})
        steps = parameters.get("num_inference_steps", STEPS)
        parameters["num_inference_steps"] = math.ceil(steps * EFFORT_STEPS)
        defaults.setdefault("sampling", {}).update(EFFORTS[effort])
    for section, part in defaults.items():
        given = merged.get(section, {})
        if isinstance(given, Mapping):  # anything else is an error that validation names
            merged[section] = {**part, **given}
    return merged
