from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.control_net import ControlNet
from tests.models.tiny_networks import TIME_IDS, TIMESTEP, random, tiny_control_net

HEIGHT, WIDTH, FRAMES = 64, 128, 3
CLOSE = 1e-10


@pytest.fixture(scope="module")
def network() -> ControlNet:
    return tiny_control_net()


def tracks() -> tuple[Tensor, Tensor]:
    points = torch.rand(
        FRAMES, 18, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    return points, torch.arange(FRAMES * 18).reshape(FRAMES, 18) % 5 != 0


def levels_of(network: ControlNet) -> tuple[Tensor, ...]:
    points, visible = tracks()
    return network.embed_points(random(18, 24), points, visible, height=HEIGHT, width=WIDTH)


def run(
    network: ControlNet, batch: GuidanceBatch, latents: Tensor, motion: Tensor, **extras: object
) -> tuple[Tensor, ...]:
    context = network.cross_attention(random(1, 2, 32, seed=2), batch, "official")
    time = network.time_embed(TIMESTEP, TIME_IDS)
    return network(latents, time, context, motion=motion, **extras)


def embed_clip(network: ControlNet, dense: Tensor, trajectory: Tensor) -> Tensor:
    still = network.embed_stillness(HEIGHT, WIDTH)
    return torch.cat([still, network.embed_motion(dense, trajectory)])


def flat(residuals: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([value.flatten() for value in residuals])


@torch.no_grad()
def test_motion_is_embedded_once_for_a_clip(network: ControlNet) -> None:
    """A clip embedded frame by frame equals the embedding of a tile as the original makes it."""
    dense, trajectory = random(5, 2, HEIGHT, WIDTH), random(5, 2, HEIGHT, WIDTH, seed=6)
    clip = embed_clip(network, dense, trajectory)
    assert clip.shape == (6, 32, HEIGHT // 8, WIDTH // 8)
    still = torch.zeros(1, 2, HEIGHT, WIDTH, dtype=torch.float64)
    tile = [0, 3, 4]
    plain = network.controlnet_cond_embedding(
        torch.cat([still, dense])[tile], torch.cat([still, trajectory])[tile]
    )
    torch.testing.assert_close(clip[tile], plain, rtol=CLOSE, atol=CLOSE)


@torch.no_grad()
def test_conditions_computed_once_equal_conditions_per_call(network: ControlNet) -> None:
    """Slices of a clip's conditions, shared by both halves, equal conditions given per half."""
    motion = embed_clip(network, random(2, 2, HEIGHT, WIDTH), random(2, 2, HEIGHT, WIDTH, seed=6))
    levels = levels_of(network)
    latents = random(2, FRAMES, 8, HEIGHT // 8, WIDTH // 8)
    shared = run(
        network,
        GuidanceBatch.tiles(1),
        latents,
        motion[None],
        point_levels=tuple(level[None] for level in levels),
    )
    repeated = run(
        network,
        GuidanceBatch.tiles(1),
        latents,
        torch.stack([motion, motion]),
        point_levels=tuple(torch.stack([level, level]) for level in levels),
    )
    torch.testing.assert_close(flat(shared), flat(repeated), rtol=CLOSE, atol=CLOSE)
    halves = [
        run(
            network,
            GuidanceBatch.tiles(1, (half,)),
            latents[half : half + 1],
            motion[None],
            point_levels=tuple(level[None] for level in levels),
        )
        for half in (0, 1)
    ]
    joined = torch.cat([half[-1] for half in halves])
    torch.testing.assert_close(joined, shared[-1], rtol=CLOSE, atol=CLOSE)


@torch.no_grad()
def test_points_enter_after_the_skips_of_their_block(network: ControlNet) -> None:
    """Level 0 changes nothing up to and including block 0's own residuals (Q5)."""
    motion = embed_clip(network, random(2, 2, HEIGHT, WIDTH), random(2, 2, HEIGHT, WIDTH))[None]
    latents = random(2, FRAMES, 8, HEIGHT // 8, WIDTH // 8)
    levels = tuple(level[None] for level in levels_of(network))
    without = run(network, GuidanceBatch.tiles(1), latents, motion)
    with_points = run(network, GuidanceBatch.tiles(1), latents, motion, point_levels=levels)
    same = [torch.equal(a, b) for a, b in zip(without[:-1], with_points[:-1], strict=True)]
    assert same == [True] * 4 + [False] * 8
    assert not torch.equal(without[-1], with_points[-1])


@torch.no_grad()
def test_scale_multiplies_all_residuals(network: ControlNet) -> None:
    """A conditioning scale of 0.5 halves what the UNet receives."""
    motion = embed_clip(network, random(2, 2, HEIGHT, WIDTH), random(2, 2, HEIGHT, WIDTH))[None]
    latents = random(2, FRAMES, 8, HEIGHT // 8, WIDTH // 8)
    full = run(network, GuidanceBatch.tiles(1), latents, motion)
    half = run(network, GuidanceBatch.tiles(1), latents, motion, scale=0.5)
    torch.testing.assert_close(flat(half), flat(full) / 2, rtol=CLOSE, atol=CLOSE)


def test_gradients_reach_the_adapter_and_the_motion_embedding(network: ControlNet) -> None:
    """The parts DisPose trains receive gradients through the once-per-clip computations."""
    motion = embed_clip(network, random(2, 2, HEIGHT, WIDTH), random(2, 2, HEIGHT, WIDTH, seed=5))
    levels = tuple(level[None] for level in levels_of(network))
    latents = random(2, FRAMES, 8, HEIGHT // 8, WIDTH // 8)
    network.gradient_checkpointing = True
    residuals = run(network, GuidanceBatch.tiles(1), latents, motion[None], point_levels=levels)
    network.gradient_checkpointing = False
    flat(residuals).square().mean().backward()
    for part in (network.point_adapter, network.controlnet_cond_embedding):
        gradients = [value.grad for value in part.parameters()]
        network_part = type(part).__name__
        assert all(g is not None and g.abs().max() > 0 for g in gradients[:-2]), network_part
    network.zero_grad()
