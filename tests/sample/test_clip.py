"""Whole clips on tiny networks."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dispose_stages.faults import descend
from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.sample.binding import BoundNetwork, guidance_contexts
from dispose_stages.sample.clip import (
    ClipInputs,
    Networks,
    condition_clip,
    sample_clip,
)
from dispose_stages.sample.denoise import DenoisingState
from dispose_stages.sample.memory import Rung, ladder
from dispose_stages.sample.predict import Predictor
from dispose_stages.sample.reference import added_time_ids
from dispose_stages.sample.shortcuts import StepKind
from dispose_stages.sample.tiles import Tile
from dispose_stages.sample.unit import SampleParams
from tests.sample.tiny_clip import (
    PARAMETERS,
    plain_predict,
    tiny_inputs,
    tiny_networks,
    tiny_noise,
    with_counters,
)

RUNG = Rung("single_tile", 1)
FRAMES = 5
ROUNDING = 1e-3  # of the norm: float32 cancels against a sigma of 700


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def sample(
    inputs: ClipInputs | None = None,
    networks: Networks | None = None,
    parameters: SampleParams = PARAMETERS,
    rung: Rung = RUNG,
    **options: Any,
) -> Tensor:
    inputs, networks = inputs or tiny_inputs(FRAMES), networks or tiny_networks()
    return sample_clip(inputs, networks, parameters, tiny_noise(parameters), rung, **options)


def double_precision_predictor(
    parameters: SampleParams, rung: Rung
) -> tuple[Any, ClipInputs, Networks, Tensor, Tensor]:
    """The predictor of a clip, its inputs, networks, image latent and embedding, in float64."""
    inputs = tiny_inputs(FRAMES, torch.float64)
    networks = tiny_networks(torch.float64)
    image_noise, _ = tiny_noise()
    conditions, embedding = condition_clip(inputs, networks, parameters, image_noise, rung)
    bound = [
        BoundNetwork(
            network,
            guidance_contexts(embedding, guided=parameters.guided),
            added_time_ids(
                parameters.noise_aug_strength,
                condition_fps=parameters.condition_fps,
                motion_bucket_id=parameters.motion_bucket_id,
                device="cpu",
            ),
            compat=parameters.compat,
        )
        for network in (networks.unet, networks.control_net)
    ]
    predictor = Predictor(
        conditions,
        *bound,
        guided=parameters.guided,
        control_scale=parameters.control_scale,
        rung=rung,
        dtype=torch.float64,
    )
    return predictor, inputs, networks, conditions.image, embedding


def tiles_and_latents() -> tuple[list[Tile], Tensor, Tensor]:
    tiles = [Tile.of(tile, "cpu") for tile in plan_tiles(FRAMES, 4, 2)]
    noisy = torch.randn(FRAMES, 4, 16, 8, generator=torch.Generator().manual_seed(1))
    return tiles, noisy, torch.tensor(0.7)


@pytest.mark.parametrize("tile_batch", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {"compat": "official"},
        {"compat": "corrected"},
        {"control_scale": 0.5},
        {"motion_bucket_id": 30, "condition_fps": 24},
    ],
)
def test_once_per_clip_equals_the_plain_form(changes: Any, tile_batch: int) -> None:
    """Conditions per clip, constants and stacked tiles against all per tile and step (float64)."""
    parameters = PARAMETERS.model_copy(update=changes)
    predictor, inputs, networks, image_latent, embedding = double_precision_predictor(
        parameters, Rung("together", tile_batch, frame_chunk=2)
    )
    tiles, noisy, timestep = tiles_and_latents()
    together = list(predictor(noisy, timestep, tiles, StepKind()))
    for index, tile in enumerate(tiles):
        plain = plain_predict(
            inputs,
            networks,
            parameters,
            image_latent=image_latent,
            embedding=embedding,
            noisy=noisy[tile.index],
            tile=tile.frames.tolist(),
            timestep=timestep,
        )
        assert (together[index] - plain).abs().max() <= 1e-10 * plain.abs().max()


@pytest.mark.parametrize("compat", ["official", "corrected"])
def test_halves_in_sequence_equal_halves_together(compat: Any) -> None:
    """Running the halves alone keeps the order of temporal contexts of the pair (Q0, float64)."""
    parameters = PARAMETERS.model_copy(update={"compat": compat})
    tiles, noisy, timestep = tiles_and_latents()
    results = [
        torch.stack(
            list(
                double_precision_predictor(parameters, Rung("", 2, sequential_halves=sequential))[
                    0
                ](noisy, timestep, tiles, StepKind())
            )
        )
        for sequential in (False, True)
    ]
    assert (results[0] - results[1]).abs().max() <= 1e-10 * results[0].abs().max()


def test_compat_changes_the_prediction() -> None:
    """The order of temporal contexts is no rounding matter."""
    official = sample()
    corrected = sample(parameters=PARAMETERS.model_copy(update={"compat": "corrected"}))
    assert distance(official, corrected) > 10 * ROUNDING


@pytest.mark.parametrize("steps", [1, 3])
def test_everything_constant_is_computed_once(steps: int) -> None:
    """Per clip: pose frames, embeddings, constants. Per step: the time. Per tile: a run."""
    calls: dict[str, int] = {}
    networks = with_counters(tiny_networks(), calls)
    sample(
        networks=networks, parameters=PARAMETERS.model_copy(update={"num_inference_steps": steps})
    )
    tiles = len(plan_tiles(FRAMES, PARAMETERS.tile_size, PARAMETERS.tile_overlap))
    assert calls == {
        "pose_net frames": FRAMES,
        "control_net.embed_stillness": 1,
        "control_net.embed_motion": 1,
        "control_net.embed_points": 1,
        "unet.cross_attention": 1,
        "control_net.cross_attention": 1,
        "unet.time_embed": steps,
        "control_net.time_embed": steps,
        "unet": steps * tiles,
        "control_net": steps * tiles,
    }


@pytest.mark.parametrize("rung", [*ladder(2), Rung("frame by frame", 2, frame_chunk=1)])
def test_rungs_agree(rung: Rung) -> None:
    """Less memory, same latents up to rounding."""
    assert distance(sample(rung=rung), sample()) <= ROUNDING


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_out_of_memory_is_survived(failures: int) -> None:
    """Networks that run out of memory a few times give the same clip, some rungs lower."""
    networks, left = tiny_networks(), [failures]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("fake")
        return networks.pose_net(*args, **kwargs)

    tight = replace(networks, pose_net=failing)
    rungs = {rung.name: partial(sample, networks=tight, rung=rung) for rung in ladder(2)}
    result, rung = descend(rungs)
    assert rung == ladder(2)[failures].name
    assert distance(result, sample(rung=ladder(2)[0])) <= ROUNDING


def test_resumed_clip_is_bit_equal() -> None:
    """Going on from any state gives what the whole run gives."""
    states: list[DenoisingState] = []
    whole = sample(after_step=states.append)
    assert [state.step for state in states] == [1, 2, 3]
    for state in states:
        assert torch.equal(sample(state=state), whole)


def test_clip_shorter_than_a_tile() -> None:
    """A clip of fewer frames than a tile is one tile; the noise is that of the whole tile."""
    result = sample(tiny_inputs(3))
    assert result.shape == (3, 4, 16, 8)
    assert result.isfinite().all()


def test_weak_guidance_runs_the_conditional_half_alone() -> None:
    """At scale 1 one half suffices, and it is what guidance at (almost) 1 gives."""
    calls: dict[str, int] = {}
    networks = tiny_networks()
    sizes: list[int] = []
    unet: Any = networks.unet
    handle = unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    parameters = PARAMETERS.model_copy(
        update={"compat": "corrected", "guidance_min": 1.0, "guidance_max": 1.0}
    )
    alone = sample(networks=with_counters(networks, calls), parameters=parameters)
    both = sample(parameters=parameters.model_copy(update={"guidance_max": 1.0 + 1e-6}))
    handle.remove()
    assert set(sizes[: calls["unet"]]) == {1}
    assert set(sizes[calls["unet"] :]) == {2}
    assert distance(alone, both) <= ROUNDING


def test_guidance_rises_over_the_frames() -> None:
    """Only frames whose scale differs may differ after one step in a single tile."""
    one_step = PARAMETERS.model_copy(update={"num_inference_steps": 1})
    inputs = tiny_inputs(4)
    flat = sample(inputs, parameters=one_step)
    ramp = sample(inputs, parameters=one_step.model_copy(update={"guidance_max": 4.0}))
    differs = (flat != ramp).flatten(1).any(1).tolist()
    assert differs == [False, True, True, True]


def test_ablations_leave_their_part_out() -> None:
    """Each switch changes the clip; with both off the ControlNet is not run."""
    inputs, calls = tiny_inputs(FRAMES), {}
    networks = with_counters(tiny_networks(), calls)
    plain = sample(replace(inputs, fields=None, correspondence=None), networks)
    assert not any(name.startswith("control_net") for name in calls)
    results = [
        sample(inputs),
        sample(replace(inputs, fields=None)),
        sample(replace(inputs, correspondence=None)),
        plain,
    ]
    for index, first in enumerate(results):
        for second in results[index + 1 :]:
            assert distance(first, second) > 10 * ROUNDING


def test_zero_motion_is_not_the_motion_ablation() -> None:
    """Fields of zeros say that nothing moves; the ablation says nothing."""
    inputs = tiny_inputs(FRAMES)
    assert inputs.fields is not None
    still = [torch.zeros_like(field) for field in inputs.fields(slice(None))]
    zeros = replace(inputs, fields=lambda chunk: (still[0][chunk], still[1][chunk]))
    assert distance(sample(zeros), sample(replace(inputs, fields=None))) > 10 * ROUNDING


def test_half_precision_networks_keep_single_precision_latents() -> None:
    """Weights and activations in half precision; state, schedule and blending are not."""
    half, single = sample(networks=tiny_networks(torch.bfloat16)), sample()
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())
    assert ROUNDING < distance(half, single) < 0.2


def test_offloading_visits_every_network() -> None:
    """Each network is made resident while it is used and let go afterwards."""
    from contextlib import contextmanager

    networks, present, seen = tiny_networks(), [], set()

    @contextmanager
    def resident(network: Any) -> Any:
        assert not present, "two networks at once"
        present.append(network)
        seen.add(id(network))
        yield
        present.remove(network)

    result = sample(networks=replace(networks, resident=resident))
    assert torch.equal(result, sample())
    assert seen == {id(networks.unet), id(networks.control_net), id(networks.pose_net)}


def test_the_loop_never_waits_for_the_device() -> None:
    """On the meta device, reading any value on the host is an error; a whole run goes through."""
    device = torch.device("meta")
    networks = tiny_networks()
    unet, control_net, pose_net = (
        copy.deepcopy(network).to(device)
        for network in (networks.unet, networks.control_net, networks.pose_net)
    )
    on_meta = replace(
        networks,
        unet=unet,
        control_net=control_net,
        pose_net=pose_net,
        image_embedding=lambda pixels: pixels.new_zeros(1, 32),
        posterior_mode=lambda image: image.new_zeros(1, 4, 16, 8),
        device=device,
    )
    inputs, noise = tiny_inputs(FRAMES), tiny_noise()
    moved = replace(
        inputs,
        image=inputs.image.to(device),
        rasters=lambda chunk: inputs.rasters(chunk).to(device),
        fields=lambda chunk: tuple(field.to(device) for field in inputs.fields(chunk)),
        points=inputs.points.to(device),
        visible=inputs.visible.to(device),
        correspondence=inputs.correspondence.to(device),
    )
    image_noise, tile_noise = (draw.to(device) for draw in noise)
    result = sample_clip(moved, on_meta, PARAMETERS, (image_noise, tile_noise), RUNG)
    assert result.device == device
    with pytest.raises(RuntimeError):
        result.sum().item()  # what the test relies on


@pytest.mark.parametrize(
    "changes", [{"control_scale": 0.5}, {"motion_bucket_id": 30}, {"condition_fps": 24}]
)
def test_numeric_conditions_change_the_clip_and_their_defaults_do_not(changes: Any) -> None:
    """Each of them reaches the networks; naming the default changes nothing."""
    plain = sample()
    defaults = PARAMETERS.model_copy(
        update={"control_scale": 1.0, "motion_bucket_id": 127, "condition_fps": 7}
    )
    assert torch.equal(plain, sample(parameters=defaults))
    assert not torch.equal(plain, sample(parameters=PARAMETERS.model_copy(update=changes)))


def test_a_scale_of_nothing_is_the_plain_model() -> None:
    """Residuals times zero are no residuals."""
    without = replace(tiny_inputs(FRAMES), fields=None, correspondence=None)
    silent = sample(parameters=PARAMETERS.model_copy(update={"control_scale": 0.0}))
    assert distance(silent, sample(without)) <= ROUNDING
