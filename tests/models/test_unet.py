from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from dispose_stages.errors import WeightsError
from dispose_stages.models import attention
from dispose_stages.models.context import GuidanceBatch, TemporalOrder
from dispose_stages.models.transformer import pack_projections
from dispose_stages.models.unet import SpatioTemporalUNet, _accumulate, build_unet
from tests.models.tiny_networks import (
    CONFIG,
    TIME_IDS,
    TIMESTEP,
    order_as_official,
    plain_unet,
    random,
    tiny_unet,
)

CLOSE = 1e-10  # of the largest magnitude, in double precision


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def predict(
    network: SpatioTemporalUNet,
    latents: Tensor,
    context: Tensor,
    batch: GuidanceBatch,
    order: TemporalOrder = "official",
    **extras: Tensor,
) -> Tensor:
    arranged = network.cross_attention(context, batch, order)
    return network(latents, network.time_embed(TIMESTEP, TIME_IDS), arranged, **extras)


def plain(network: SpatioTemporalUNet, latents: Tensor, context: Tensor, order: str) -> Tensor:
    reference = plain_unet(network)
    if order == "official":
        order_as_official(reference, len(context))
    ids = TIME_IDS.expand(len(latents), 3)
    return reference(latents, TIMESTEP, context[:, None], ids, return_dict=False)[0]


@pytest.fixture(scope="module")
def network() -> SpatioTemporalUNet:
    return tiny_unet()


@pytest.mark.parametrize("order", ["official", "corrected"])
@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
@torch.no_grad()
def test_constant_cross_attention_equals_attending(
    network: SpatioTemporalUNet, order: TemporalOrder, size: tuple[int, int]
) -> None:
    """Constants per layer and a shared time embedding give what diffusers' own network gives."""
    latents, context = random(2, 3, 8, *size), random(2, 32, seed=2)
    actual = predict(network, latents, context[None], GuidanceBatch.tiles(1), order)
    assert relative(actual, plain(network, latents, context, order)) <= CLOSE


@torch.no_grad()
def test_order_of_contexts_matters(network: SpatioTemporalUNet) -> None:
    """Both settings of the switch differ visibly, so the tests above can fail."""
    latents, context = random(2, 3, 8, 8, 8), random(2, 32, seed=2)
    official, corrected = (
        predict(network, latents, context[None], GuidanceBatch.tiles(1), order)
        for order in ("official", "corrected")
    )
    assert relative(official, corrected) > 1e-3


@torch.no_grad()
def test_halves_one_after_the_other_equal_the_pair(network: SpatioTemporalUNet) -> None:
    """Low-memory guidance computes the official result of the pair."""
    latents, context = random(2, 3, 8, 8, 8), random(1, 2, 32, seed=2)
    pair = predict(network, latents, context, GuidanceBatch.tiles(1))
    for half in (0, 1):
        alone = predict(network, latents[half : half + 1], context, GuidanceBatch.tiles(1, (half,)))
        assert relative(alone, pair[half : half + 1]) <= CLOSE


@torch.no_grad()
def test_stacked_tiles_equal_tiles_one_by_one(network: SpatioTemporalUNet) -> None:
    """Tiles on the batch axis do not see one another."""
    latents, context = random(4, 3, 8, 8, 8), random(1, 2, 32, seed=2)
    stacked = predict(network, latents, context, GuidanceBatch.tiles(2))
    single = [predict(network, pair, context, GuidanceBatch.tiles(1)) for pair in latents.split(2)]
    assert relative(stacked, torch.cat(single)) <= CLOSE


@torch.no_grad()
def test_packed_projections_compute_the_same(network: SpatioTemporalUNet) -> None:
    """Query, key and value from one product; only rounding may differ."""
    packed = copy.deepcopy(network)
    pack_projections(packed)
    assert not any("attn1.to_q." in name for name in packed.state_dict())
    latents, contexts = random(2, 3, 8, 8, 8), random(1, 2, 32, seed=2)
    expected, actual = (
        predict(net, latents, contexts, GuidanceBatch.tiles(1)) for net in (network, packed)
    )
    assert (actual - expected).abs().max() <= 1e-10 * expected.abs().max()


@torch.no_grad()
def test_transformers_of_several_layers_and_odd_sizes() -> None:
    """Deeper transformers, and latents that do not halve evenly, work as in diffusers."""
    changes = {"transformer_layers_per_block": 2}
    network = tiny_unet(**changes)
    latents, context = random(1, 2, 8, 10, 6), random(1, 32, seed=2)
    reference = plain_unet(network, **changes)
    expected = reference(latents, TIMESTEP, context[:, None], TIME_IDS, return_dict=False)[0]
    actual = predict(network, latents, context[None], GuidanceBatch.tiles(1, (0,)))
    assert relative(actual, expected) <= CLOSE


@torch.no_grad()
def test_long_attention_batches_are_split(
    network: SpatioTemporalUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splitting rows for CUDA's grid limit changes nothing."""
    latents, context = random(1, 3, 8, 8, 8), random(1, 1, 32, seed=2)
    whole = predict(network, latents, context, GuidanceBatch.tiles(1, (0,)))
    monkeypatch.setattr(attention, "MAX_ROWS", 40)
    split = predict(network, latents, context, GuidanceBatch.tiles(1, (0,)))
    assert relative(split, whole) <= CLOSE


def test_control_residuals_accumulate() -> None:
    """Skips receive their residual as often as down blocks follow (Q1)."""
    blocks = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    skips = [torch.zeros(1, 1, 1, 1) for _ in blocks]
    residuals = [skip + 1 for skip in skips]
    counts = [int(skip) for skip in _accumulate(skips, blocks, residuals, 4)]
    assert counts == [4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1]


def test_gradients_reach_every_weight_and_survive_checkpointing() -> None:
    """All weights that can matter are trainable, with the same gradients when recomputed."""
    network = tiny_unet().train()
    latents, context = random(2, 2, 8, 8, 8), random(2, 1, 32, seed=2)
    gradients = []
    for checkpointing in (False, True):
        network.zero_grad()
        network.gradient_checkpointing = checkpointing
        predict(network, latents, context, GuidanceBatch.separate(2)).square().mean().backward()
        gradients.append({k: v.grad for k, v in network.named_parameters() if v.grad is not None})
    idle = {k for k, _ in network.named_parameters()} - gradients[0].keys()
    # One key and no query: these never matter (algorithm §12).
    assert all(".norm2." in key or ".attn2.to_" in key for key in idle)
    assert not any("attn2.to_v" in key or "attn2.to_out" in key for key in idle)
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_needs_no_autocast(network: SpatioTemporalUNet, dtype: torch.dtype) -> None:
    """Weights and inputs of one type run as they are and stay close to double precision."""
    latents, context = random(1, 2, 8, 8, 8), random(1, 1, 32, seed=2)
    expected = predict(network, latents, context, GuidanceBatch.tiles(1, (0,)))
    cast = tiny_unet().to(dtype)
    actual = predict(cast, latents.to(dtype), context.to(dtype), GuidanceBatch.tiles(1, (0,)))
    assert actual.dtype == dtype
    assert relative(actual.double(), expected) < 0.1


def test_batch_must_fit_its_context(network: SpatioTemporalUNet) -> None:
    """A context arranged for another batch is a mistake, not something to broadcast."""
    with pytest.raises(ValueError, match="arranged for 2, not 1"):
        predict(network, random(1, 2, 8, 8, 8), random(1, 2, 32), GuidanceBatch.tiles(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"block_out_channels": [32, 64]},
        {"down_block_types": ["CrossAttnDownBlock2D"] * 4},
        {"layers_per_block": "two"},
    ],
)
def test_other_networks_are_refused(changes: dict[str, object]) -> None:
    """A configuration of another kind of UNet is an error with a reason."""
    with pytest.raises(WeightsError, match="not the configuration of a spatio-temporal UNet"):
        build_unet(CONFIG | changes)
