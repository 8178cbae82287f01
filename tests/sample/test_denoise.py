"""The denoising loop with a network that is a formula."""

from __future__ import annotations

import errno
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dispose_stages.config_sampling import Solver
from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.sample.denoise import (
    DenoisingState,
    denoise,
    initial_state,
)
from dispose_stages.sample.guidance import guidance_scales
from dispose_stages.sample.resume import StateWriter, from_arrays, save_every, to_arrays
from dispose_stages.sample.schedule import (
    euler_step,
    initial_scale,
    noise_levels,
    timesteps,
    to_unit_variance,
)
from dispose_stages.sample.shortcuts import StepKind
from dispose_stages.sample.tiles import Tile, TileBlender
from tests.sample.tiny_clip import META

STEPS, FRAMES = 5, 7
LEVELS = noise_levels(STEPS, 0.002, 700.0)
WHOLE = [StepKind()] * STEPS
NOISE = torch.randn(FRAMES, 4, 2, 3, generator=torch.Generator().manual_seed(3))


class Interrupted(Exception):  # noqa: N818 - stands for the runner's
    pass


def predict(noisy: Tensor, timestep: Tensor, tiles: Sequence[Tile], kind: StepKind) -> list[Tensor]:
    """Both halves depend on latents, time and frame, and are far from linear."""
    return [
        torch.stack(
            [
                torch.sin(noisy[tile.index] + timestep),
                torch.cos(noisy[tile.index] * 2 + tile.index.float()[:, None, None, None]),
            ]
        )
        for tile in tiles
    ]


def run(state: DenoisingState | None = None, **options: Any) -> Tensor:
    blender = TileBlender(plan_tiles(FRAMES, 4, 2), FRAMES, device="cpu")
    state = state or initial_state(NOISE, LEVELS)
    scales = guidance_scales(1.0, 2.0, FRAMES)
    return denoise(state, predict, LEVELS, blender, scales, **{"kinds": WHOLE} | options)


def writer(store: Callable[[DenoisingState], None]) -> StateWriter:
    return StateWriter(store, ThreadPoolExecutor(1))


def test_perfect_prediction_recovers_the_data() -> None:
    """A network that knows the data leads the Euler steps to it from any noise."""
    data = torch.linspace(-1, 1, FRAMES).view(-1, 1, 1, 1).expand(FRAMES, 4, 2, 3)

    def knowing(noisy: Tensor, timestep: Tensor, tiles: Any, _: StepKind) -> list[Tensor]:
        sigma = torch.exp(4 * timestep)
        x = noisy * (sigma**2 + 1) ** 0.5
        v = (x / (sigma**2 + 1) - data) * (sigma**2 + 1) ** 0.5 / sigma
        return [v[tile.index][None] for tile in tiles]

    blender = TileBlender(plan_tiles(FRAMES, 4, 2), FRAMES, device="cpu")
    state = initial_state(NOISE, LEVELS)
    scales = guidance_scales(1.0, 1.0, FRAMES)
    result = denoise(state, knowing, LEVELS, blender, scales, kinds=WHOLE)
    assert (result - data).abs().max() < 1e-3


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("step", range(1, STEPS))
def test_resumed_run_is_bit_equal(step: int, solver: Solver) -> None:
    """Interrupted after any step, stored, read back and gone on with: the same bits."""
    stored: list[Any] = []
    after_step = save_every(
        0,
        writer(lambda state: stored.append(to_arrays(state, STEPS))),
        stop_requested=lambda: next(countdown) == step,
        interrupt=Interrupted,
    )
    countdown = iter(range(1, STEPS + 1))
    with pytest.raises(Interrupted):
        run(after_step=after_step, solver=solver)
    (arrays,) = stored
    state = from_arrays(arrays, like=NOISE, steps=STEPS, solver=solver)
    assert state is not None
    assert state.step == step
    assert torch.equal(run(state, solver=solver), run(solver=solver))


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_second_order_solver_is_that_of_the_library(steps: int) -> None:
    """diffusers' multistep scheduler, given the same levels and predictions."""
    from diffusers import EDMDPMSolverMultistepScheduler

    library: Any = EDMDPMSolverMultistepScheduler(
        sigma_min=0.002, sigma_max=700.0, sigma_data=1.0, prediction_type="v_prediction"
    )
    library.set_timesteps(steps)
    levels = noise_levels(steps, 0.002, 700.0)
    assert torch.allclose(levels, library.sigmas, rtol=1e-5)
    given: list[Tensor] = []

    def varying(noisy: Tensor, timestep: Tensor, tiles: Sequence[Tensor], _: Any) -> list[Tensor]:
        given.append(torch.sin(2 * noisy + timestep))
        return [given[-1][None, tile.index] for tile in tiles]

    state = initial_state(NOISE, levels)
    blender = TileBlender(plan_tiles(FRAMES, FRAMES, 0), FRAMES, device="cpu")
    scales = guidance_scales(1.0, 1.0, FRAMES)
    kinds = [StepKind()] * steps
    ours = denoise(state, varying, levels, blender, scales, kinds=kinds, solver="dpmpp_2m")
    latents = state.latents
    for timestep, prediction in zip(library.timesteps, given, strict=True):
        latents = library.step(prediction, timestep, latents, return_dict=False)[0]
    # float32 cancels against a level of 700.
    assert (ours - latents).abs().max() <= 1e-3 * latents.abs().max()


def test_the_second_order_solver_is_of_second_order() -> None:
    """Data of a known spread: the error falls with the square of the number of steps."""
    spread = 0.8
    levels = {count: noise_levels(count, 0.1, 10.0)[:-1] for count in (20, 40)}

    def knowing(noisy: Tensor, timestep: Tensor, tiles: Any, _: StepKind) -> list[Tensor]:
        sigma = torch.exp(4 * timestep)
        x = noisy * (sigma**2 + 1) ** 0.5
        data = x * spread**2 / (spread**2 + sigma**2)
        v = (x / (sigma**2 + 1) - data) * (sigma**2 + 1) ** 0.5 / sigma
        return [v[None, tile.index] for tile in tiles]

    exact = NOISE * ((0.1**2 + spread**2) / (10.0**2 + spread**2)) ** 0.5
    blender = TileBlender(plan_tiles(FRAMES, FRAMES, 0), FRAMES, device="cpu")
    scales = guidance_scales(1.0, 1.0, FRAMES)
    errors = {}
    for solver in ("euler", "dpmpp_2m"):
        for count, upto in levels.items():
            state = DenoisingState(0, NOISE)
            kinds = [StepKind()] * count
            result = denoise(state, knowing, upto, blender, scales, kinds=kinds, solver=solver)
            errors[solver, count] = float((result - exact).norm())
    assert 1.7 < errors["euler", 20] / errors["euler", 40] < 2.4
    assert 3.2 < errors["dpmpp_2m", 20] / errors["dpmpp_2m", 40] < 5.0


def test_a_run_is_gone_on_from_before_whole_steps_only() -> None:
    """What a whole step leaves for those after it is not stored."""
    kinds = [StepKind(whole=whole) for whole in (True, False, True, True, False)]
    states: list[DenoisingState] = []
    asked: list[StepKind] = []

    def listening(noisy: Tensor, timestep: Tensor, tiles: Any, kind: StepKind) -> list[Tensor]:
        asked.append(kind)
        return predict(noisy, timestep, tiles, kind)

    blender = TileBlender(plan_tiles(FRAMES, 4, 2), FRAMES, device="cpu")
    scales = guidance_scales(1.0, 2.0, FRAMES)
    first = initial_state(NOISE, LEVELS)
    denoise(first, listening, LEVELS, blender, scales, kinds=kinds, after_step=states.append)
    assert [state.step for state in states] == [2, 3, 5]
    assert asked == kinds


def test_states_that_are_passed_over_are_made_up_for() -> None:
    """Every fourth step, where only every third can be gone on from; also after an interruption."""
    saved: list[int] = []
    for begun in (0, 6):
        save = writer(lambda state: saved.append(state.step))
        keep = save_every(4, save, begun=begun, stop_requested=lambda: False, interrupt=Interrupted)
        for step in range(begun + 3, 16, 3):
            keep(DenoisingState(step, NOISE))
        save.wait()
    assert saved == [6, 9, 12, 9, 12]


def test_the_loop_does_not_wait_for_a_state_to_be_stored() -> None:
    """The last step is done before the first state is on disk; then everything is waited for."""
    last_step, saved = threading.Event(), []

    def slow(state: DenoisingState) -> None:
        assert last_step.wait(30)
        saved.append(state.step)

    save = writer(slow)
    after_step = save_every(3, save, stop_requested=lambda: False, interrupt=Interrupted)

    def also(state: DenoisingState) -> None:
        after_step(state)
        if state.step == STEPS:
            last_step.set()

    run(after_step=also)
    save.wait()
    assert saved == [3]


def test_a_state_that_cannot_be_stored_is_an_error() -> None:
    """At the next state, or at the end."""

    def full(_: DenoisingState) -> None:
        raise OSError(errno.ENOSPC, "no space")

    save = writer(full)
    with pytest.raises(OSError, match="no space"):
        run(after_step=save_every(1, save, stop_requested=lambda: False, interrupt=Interrupted))
    save(initial_state(NOISE, LEVELS))
    with pytest.raises(OSError, match="no space"):
        save.wait()


def test_states_are_saved_at_the_interval() -> None:
    """Every second step is kept; none with interval 0."""
    saved: list[int] = []
    for interval in (2, 0):
        save = writer(lambda state: saved.append(state.step))
        run(
            after_step=save_every(
                interval, save, stop_requested=lambda: False, interrupt=Interrupted
            )
        )
        save.wait()
    assert saved == [2, 4]


@pytest.mark.parametrize("steps", [1, 2, 25, 50])
def test_levels_and_steps_are_those_of_the_library(steps: int) -> None:
    """Bit for bit diffusers' Euler scheduler with the published configuration."""
    from diffusers import EulerDiscreteScheduler

    with warnings.catch_warnings():  # it calls NumPy 2 on a tensor
        warnings.simplefilter("ignore", DeprecationWarning)
        library: Any = EulerDiscreteScheduler.from_config(META["scheduler_config"])
        library.set_timesteps(steps)
    levels = noise_levels(steps, 0.002, 700.0)
    assert torch.equal(levels, library.sigmas)
    assert torch.equal(timesteps(levels), library.timesteps)
    assert torch.equal(initial_scale(levels), library.init_noise_sigma)
    latents = NOISE * initial_scale(levels)
    for index, timestep in enumerate(library.timesteps):
        expected = library.scale_model_input(latents, timestep)
        assert torch.equal(to_unit_variance(latents, levels[index]), expected)
        prediction = torch.sin(expected)
        following = euler_step(latents, prediction, levels[index], levels[index + 1])
        latents = library.step(prediction, timestep, latents, return_dict=False)[0]
        assert torch.equal(following, latents)


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {}},
        {"arrays": {"latents": np.zeros((FRAMES + 1, 4, 2, 3), np.float32)}},
        {"arrays": {"latents": np.zeros((FRAMES, 4, 2, 3), np.float64)}},
        {"attributes": {"step": 2, "steps": STEPS + 1}},
        {"attributes": {"step": STEPS + 1, "steps": STEPS}},
        {"attributes": {"steps": STEPS}},
        {"solver": "dpmpp_2m"},  # which goes on from two predictions
    ],
)
def test_foreign_state_is_not_used(change: dict[str, Any]) -> None:
    """A state of another clip, schedule or dtype means starting over."""
    arrays = {"latents": np.zeros((FRAMES, 4, 2, 3), np.float32)}
    parts: dict[str, Any] = {"arrays": arrays, "attributes": {"step": 2, "steps": STEPS}}
    assert from_arrays(tuple(parts.values()), like=NOISE, steps=STEPS, solver="euler") is not None
    solver = change.pop("solver", "euler")
    parts |= change
    assert from_arrays(tuple(parts.values()), like=NOISE, steps=STEPS, solver=solver) is None
    assert from_arrays(None, like=NOISE, steps=STEPS, solver="euler") is None
