"""The denoising loop (algorithm §9): Euler steps over tiles, as a function of callables.

Everything here is in float32; what the networks compute in is theirs. Nothing in the loop waits
for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.sample.guidance import guide
from dispose_stages.sample.tiles import TileBlender


class Scheduler(Protocol):
    """The part of diffusers' `EulerDiscreteScheduler` that the loop uses."""

    timesteps: Tensor
    init_noise_sigma: Tensor | float

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str) -> None:
        """Choose the noise levels."""

    def set_begin_index(self, begin_index: int) -> None:
        """Start at this step; without it the scheduler searches, which waits for the device."""

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Bring the latents to unit variance."""

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool
    ) -> tuple[Tensor, ...]:
        """One step towards the data."""


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
        latents: Noisy latents of all frames, in the scheduler's scale.
    """

    step: int
    latents: Float32[Tensor, "f 4 h w"]


def prepare_steps(scheduler: Scheduler, steps: int, *, device: torch.device | str) -> None:
    """Set the noise levels.

    Timesteps are float32 whatever the networks compute in. (The original's are float16 where it
    makes that the default dtype; here the default dtype is never touched.)
    """
    # Given the device, diffusers reads every sigma back from it.
    scheduler.set_timesteps(steps, device="cpu")
    scheduler.timesteps = scheduler.timesteps.to(device)


def initial_state(
    scheduler: Scheduler, noise: Float32[Tensor, "f 4 h w"], steps: int
) -> DenoisingState:
    """Unit normal noise at the scheduler's highest noise level."""
    prepare_steps(scheduler, steps, device=noise.device)
    return DenoisingState(step=0, latents=noise * scheduler.init_noise_sigma)


def denoise(
    state: DenoisingState,
    predict: Predict,
    scheduler: Scheduler,
    blender: TileBlender,
    scales: Float32[Tensor, "f"],
    *,
    steps: int,
    after_step: Callable[[DenoisingState], None] = lambda _: None,
) -> Float32[Tensor, "f 4 h w"]:
    """Take a clip from its present noise level to the data.

    Args:
        state: Where to begin: `initial_state`, or what `after_step` was given by a run that was
            interrupted; the result is the same bit for bit.
        predict: The networks; called once per step.
        scheduler: Of the SVD checkpoint; its own state is set anew.
        blender: Of the clip's tiles.
        scales: Guidance scale per frame.
        steps: Length of the whole schedule.
        after_step: Called with every new state; may raise to interrupt.

    Returns:
        Denoised latents in the VAE's scaled space.
    """
    prepare_steps(scheduler, steps, device=state.latents.device)
    scheduler.set_begin_index(state.step)
    for step in range(state.step, steps):
        timestep = scheduler.timesteps[step]
        noisy = scheduler.scale_model_input(state.latents, timestep)
        halves = blender.blend(predict(noisy, timestep, blender.indices))
        prediction = guide(halves, scales)
        latents = scheduler.step(prediction, timestep, state.latents, return_dict=False)[0]
        state = DenoisingState(step + 1, latents)
        after_step(state)
    return state.latents
