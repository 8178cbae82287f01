"""The denoising loop (algorithm §9): Euler steps over tiles, as a function of callables.

Everything here is in float32; what the networks compute in is theirs. Nothing in the loop waits
for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.sample.guidance import guide
from dispose_stages.sample.schedule import (
    euler_step,
    initial_scale,
    timesteps,
    to_unit_variance,
)
from dispose_stages.sample.tiles import TileBlender

Predict = Callable[
    [Float32[Tensor, "f 4 h w"], Float32[Tensor, ""], Sequence[Tensor]],
    Sequence[Float[Tensor, "g t 4 h w"]],
]
"""The networks on all tiles: scaled noisy latents of the clip, timestep and the frames' indices of
every tile to a prediction per tile and guidance half (unconditional first, or the conditional one
alone)."""


@dataclass(frozen=True, slots=True)
class DenoisingState:
    """A clip between two steps.

    Attributes:
        step: Steps that are done.
        latents: Noisy latents of all frames, at the noise level of `step`.
    """

    step: int
    latents: Float32[Tensor, "f 4 h w"]


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
    after_step: Callable[[DenoisingState], None] = lambda _: None,
) -> Float32[Tensor, "f 4 h w"]:
    """Take a clip from its present noise level to the data.

    Args:
        state: Where to begin: `initial_state`, or what `after_step` was given by a run that was
            interrupted; the result is the same bit for bit.
        predict: The networks; called once per step.
        levels: From `noise_levels`, of the whole schedule, on the host.
        blender: Of the clip's tiles.
        scales: Guidance scale per frame.
        after_step: Called with every new state; may raise to interrupt.

    Returns:
        Denoised latents in the VAE's scaled space.
    """
    told = timesteps(levels).to(state.latents.device)
    for step in range(state.step, len(told)):
        noisy = to_unit_variance(state.latents, levels[step])
        halves = blender.blend(predict(noisy, told[step], blender.indices))
        prediction = guide(halves, scales)
        latents = euler_step(state.latents, prediction, levels[step], levels[step + 1])
        state = DenoisingState(step + 1, latents)
        after_step(state)
    return state.latents
