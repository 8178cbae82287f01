"""The denoising loop (algorithm §9): Euler steps over tiles, as a function of callables.

Everything here is in float32; what the networks compute in is theirs. Nothing in the loop waits
for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.config_sampling import Solver
from dispose_stages.sample.guidance import guide
from dispose_stages.sample.schedule import (
    euler_step,
    extrapolated_data,
    initial_scale,
    predicted_data,
    step_away,
    timesteps,
    to_unit_variance,
)
from dispose_stages.sample.shortcuts import StepKind
from dispose_stages.sample.tiles import Tile, TileBlender

Predict = Callable[
    [Float32[Tensor, "f 4 h w"], Float32[Tensor, ""], Sequence[Tile], StepKind],
    Iterable[Float[Tensor, "g t 4 h w"]],
]
"""The networks on all tiles: scaled noisy latents of the clip, timestep, tiles and what of the
networks is run, to a prediction per tile and guidance half (unconditional first, or the conditional
one alone)."""


@dataclass(frozen=True, slots=True)
class DenoisingState:
    """A clip between two steps.

    Attributes:
        step: Steps that are done.
        latents: Noisy latents of all frames, at the noise level of `step`.
        data: What the last step predicted, where the next one reads it.
    """

    step: int
    latents: Float32[Tensor, "f 4 h w"]
    data: Float32[Tensor, "f 4 h w"] | None = None


def initial_state(
    noise: Float32[Tensor, "f 4 h w"], levels: Float32[Tensor, "steps_plus_1"]
) -> DenoisingState:
    """Unit normal noise at the highest noise level."""
    return DenoisingState(step=0, latents=noise * initial_scale(levels))


def denoise(
    state: DenoisingState,
    predict: Predict,
    levels: Float32[Tensor, "steps_plus_1"],
    blender: TileBlender,
    scales: Float32[Tensor, "f"],
    *,
    kinds: Sequence[StepKind],
    solver: Solver = "euler",
    after_step: Callable[[DenoisingState], None] = lambda _: None,
) -> Float32[Tensor, "f 4 h w"]:
    """Take a clip from its present noise level to the data.

    Args:
        state: Where to begin: `initial_state`, or what `after_step` was given by a run that was
            interrupted; the result is the same bit for bit.
        predict: The networks; called once per step.
        levels: From `noise_levels`, of the whole schedule, on the host.
        scales: Guidance scale per frame.
        kinds: Of every step, from `step_kinds`.
        solver: How a step follows from a prediction.
        after_step: Called with every new state that can be gone on from, which is one before a
            whole step; may raise to interrupt.

    Returns:
        Denoised latents in the VAE's scaled space.
    """
    told = timesteps(levels).to(state.latents.device)
    for step in range(state.step, len(told)):
        noisy = to_unit_variance(state.latents, levels[step])
        halves = blender.blend(predict(noisy, told[step], blender.tiles, kinds[step]))
        state = _STEPS[solver](state, guide(halves, scales), levels)
        if step + 1 == len(told) or kinds[step + 1].whole:
            after_step(state)
    return state.latents


def interruptible(predict: Predict, between: Callable[[], None]) -> Predict:
    """The same predictions as they come; `between` is called before each and may raise."""

    def predictions(*step: Any) -> Iterator[Tensor]:
        for prediction in predict(*step):
            between()
            yield prediction

    return predictions


def _first_order(
    state: DenoisingState,
    prediction: Float32[Tensor, "f 4 h w"],
    levels: Float32[Tensor, "steps_plus_1"],
) -> DenoisingState:
    level, following = levels[state.step : state.step + 2]
    return DenoisingState(state.step + 1, euler_step(state.latents, prediction, level, following))


def _second_order(
    state: DenoisingState,
    prediction: Float32[Tensor, "f 4 h w"],
    levels: Float32[Tensor, "steps_plus_1"],
) -> DenoisingState:
    """DPM-Solver++(2M); the first step and the one to zero noise are Euler's."""
    level, following = levels[state.step : state.step + 2]
    data = ahead = predicted_data(state.latents, prediction, level)
    if state.data is not None and following > 0:
        ahead = extrapolated_data(data, state.data, levels[state.step - 1 : state.step + 2])
    latents = step_away(state.latents, ahead, level, following)
    return DenoisingState(state.step + 1, latents, data)


_STEPS: Mapping[Solver, Callable[..., DenoisingState]] = {
    "euler": _first_order,
    "dpmpp_2m": _second_order,
}
