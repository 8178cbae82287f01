"""Which steps are shortened, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dispose_stages.sample.denoise import DenoisingState
from dispose_stages.sample.memory import Rung, ladder
from dispose_stages.sample.schedule import noise_levels
from dispose_stages.sample.shortcuts import StepKind, step_kinds
from dispose_stages.sample.unit import SampleParams
from tests.sample.test_clip import ROUNDING, distance, sample
from tests.sample.tiny_clip import PARAMETERS, tiny_networks, with_counters

LEVELS = noise_levels(6, 0.002, 700.0)
KNOBS: list[dict[str, Any]] = [
    {"solver": "dpmpp_2m"},
    {"guidance_interval": (1.0, 50.0)},
    {"cache_interval": 2},
    {"cache_interval": 3, "guidance_interval": (1.0, 50.0), "solver": "dpmpp_2m"},
]


def with_knobs(**knobs: Any) -> SampleParams:
    return PARAMETERS.model_copy(update={"num_inference_steps": 6} | knobs)


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def kinds(**knobs: Any) -> str:
    """A letter per step: big where it is whole, ``g`` with guidance, ``c`` conditional alone."""
    letters = {(True, True): "G", (True, False): "g", (False, True): "C", (False, False): "c"}
    return "".join(letters[k.guided, k.whole] for k in step_kinds(LEVELS, with_knobs(**knobs)))


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, "GGGGGG"),
        ({"guidance_max": 1.0, "guidance_min": 1.0}, "CCCCCC"),
        ({"guidance_interval": (0.0, 1e9)}, "GGGGGG"),
        ({"guidance_interval": (1.0, 50.0)}, "CCGGCC"),
        ({"cache_interval": 2}, "GgGgGg"),
        ({"cache_interval": 4}, "GgggGg"),
        # Where guidance begins and ends, nothing of the step before can be used.
        ({"cache_interval": 4, "guidance_interval": (1.0, 50.0)}, "CcGgCc"),
        ({"cache_interval": 4, "guidance_interval": (1.0, 300.0)}, "CGggCc"),
    ],
)
def test_kinds_of_steps(knobs: dict[str, Any], expected: str) -> None:
    """Levels are 700, 234, 61, 11, 0.8 and 0.002."""
    assert kinds(**knobs) == expected


@pytest.mark.parametrize("knobs", KNOBS)
def test_a_shortened_clip_goes_on_with_the_same_bits(knobs: dict[str, Any]) -> None:
    """From every state that may be stored, in a new process as far as the networks can tell."""
    parameters = with_knobs(**knobs)
    states: list[DenoisingState] = []
    whole = sample(parameters=parameters, after_step=states.append)
    assert len(states) >= 2
    for state in states:
        assert torch.equal(sample(parameters=parameters, state=state), whole)


@pytest.mark.parametrize("knobs", KNOBS)
def test_rungs_agree_on_shortened_clips(knobs: dict[str, Any]) -> None:
    """Less memory, same latents up to rounding, which twice as many steps amplify."""
    parameters = with_knobs(**knobs)
    expected = sample(parameters=parameters)
    for rung in ladder(2):
        assert distance(sample(parameters=parameters, rung=rung), expected) <= 10 * ROUNDING


@pytest.mark.parametrize("knobs", KNOBS)
def test_every_knob_changes_the_clip(knobs: dict[str, Any]) -> None:
    """By more than rounding, and not into another clip."""
    shortened, plain = sample(parameters=with_knobs(**knobs)), sample(parameters=with_knobs())
    assert 30 * ROUNDING < distance(shortened, plain) < 0.7


def test_shortened_steps_run_less() -> None:
    """No ControlNet, no deep level, and one guidance half outside the interval."""
    calls: dict[str, int] = {}
    networks = tiny_networks()
    widths: list[int] = []
    deep: Any = networks.unet.mid_block
    handle = deep.register_forward_pre_hook(lambda _, inputs: widths.append(len(inputs[0])))
    parameters = with_knobs(cache_interval=2, guidance_interval=(1.0, 50.0))
    sample(networks=with_counters(networks, calls), parameters=parameters)
    handle.remove()
    tiles = calls["unet"] // 6
    assert calls["control_net"] == 3 * tiles
    assert calls["control_net.time_embed"] == 3
    frames = parameters.tile_size
    assert widths == [frames] * tiles + [2 * frames] * tiles + [frames] * tiles


def test_what_a_step_leaves_gives_its_own_result_again() -> None:
    """The outermost level on what the same step left is the whole step, exactly (float64)."""
    from tests.sample.test_clip import double_precision_predictor, tiles_and_latents

    tiles, noisy, timestep = tiles_and_latents()
    predictor, *_ = double_precision_predictor(PARAMETERS, Rung("", 2))
    whole = torch.stack(list(predictor(noisy, timestep, tiles, StepKind(leaves=True))))
    again = torch.stack(list(predictor(noisy, timestep, tiles, StepKind(whole=False))))
    assert torch.equal(again, whole)


def test_the_conditional_half_alone_is_that_of_the_pair() -> None:
    """Outside the interval the order of temporal contexts stays that of the pair (Q0, float64)."""
    from tests.sample.test_clip import double_precision_predictor, tiles_and_latents

    tiles, noisy, timestep = tiles_and_latents()
    predictor, *_ = double_precision_predictor(PARAMETERS, Rung("", 2))
    both = torch.stack(list(predictor(noisy, timestep, tiles, StepKind())))
    alone = torch.stack(list(predictor(noisy, timestep, tiles, StepKind(guided=False))))
    assert (alone[:, 0] - both[:, 1]).abs().max() <= 1e-10 * both.abs().max()
