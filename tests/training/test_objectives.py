"""Both stages of the diffusion training, on narrow networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dispose_stages.models.control_net import ControlNet, build_control_net
from dispose_stages.models.pose_net import PoseNet, build_pose_net
from dispose_stages.models.unet import SpatioTemporalUNet, build_unet
from dispose_stages.training.base import BaseObjective, initialise_base
from dispose_stages.training.control import (
    ControlBatch,
    ControlObjective,
    initialise_control_net,
    wake_motion_embedding,
)
from dispose_stages.training.left_out import LeftOut
from dispose_stages.training.loop import Schedule, Trainer, freeze
from dispose_stages.training.tiny_configs import SVD_UNET

CONFIG = SVD_UNET | {"layers_per_block": 1}
CLIPS, FRAMES = 2, 3
NOTHING = LeftOut(conditions=0.0, guidance=0.0)


@pytest.fixture
def base() -> tuple[SpatioTemporalUNet, PoseNet]:
    """A fresh base."""
    torch.manual_seed(0)
    unet, pose_net = build_unet(CONFIG), build_pose_net(CONFIG["block_out_channels"][0])
    initialise_base(unet, pose_net, 0.18215)
    return unet, pose_net


@pytest.fixture
def control_net(base: tuple[SpatioTemporalUNet, PoseNet]) -> ControlNet:
    """A ControlNet that starts from the base."""
    network = build_control_net(CONFIG, 8)
    initialise_control_net(network, base[0])
    return network


def batch() -> ControlBatch:
    """Clips of 64 by 64 pixels."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return ControlBatch(
        latents=5 * normal(CLIPS, FRAMES, 4, 8, 8),
        poses=torch.randint(0, 256, (CLIPS, FRAMES, 3, 64, 64), generator=generator).byte(),
        context=normal(CLIPS, CONFIG["cross_attention_dim"]),
        weight=torch.ones(CLIPS, FRAMES, 1, 8, 8),
        dense=normal(CLIPS, FRAMES - 1, 2, 64, 64),
        trajectory=normal(CLIPS, FRAMES - 1, 2, 64, 64),
        embedding=normal(CLIPS, 18, 8),
        points=torch.rand(CLIPS, FRAMES, 18, 2, generator=generator, dtype=torch.float64),
        visible=torch.ones(CLIPS, FRAMES, 18, dtype=torch.bool),
    )


def seeded() -> torch.Generator:
    """The same noise every time."""
    return torch.Generator().manual_seed(0)


def test_stage_one_trains_unet_and_pose_net(
    base: tuple[SpatioTemporalUNet, PoseNet], tmp_path: Path
) -> None:
    """A few steps on one batch lower its loss, and both networks take part."""
    unet, pose_net = base
    objective = BaseObjective(unet, pose_net, scaling_factor=0.18215, dropped=0.0)
    before = objective(batch(), seeded())["v"].item()
    start = pose_net.final_proj.weight.clone()
    schedule = Schedule(steps=12, learning_rate=3e-3, warmup=2, average=0.5)
    trainer = Trainer({"unet": unet, "pose_net": pose_net}, schedule, tmp_path, mixed=False)
    trainer.run(lambda _: objective(batch(), seeded()))
    assert objective(batch(), seeded())["v"].item() < 0.9 * before
    assert not torch.equal(start, pose_net.final_proj.weight)


def test_dropped_conditions_do_not_matter(base: tuple[SpatioTemporalUNet, PoseNet]) -> None:
    """With everything dropped, pose and context cannot change the loss."""
    objective = BaseObjective(*base, scaling_factor=0.18215, dropped=1.0)
    clips = batch()
    other = replace(clips, poses=255 - clips.poses, context=-clips.context)
    with torch.no_grad():
        assert torch.equal(objective(clips, seeded())["v"], objective(other, seeded())["v"])
        shown = BaseObjective(*base, scaling_factor=0.18215, dropped=0.0)
        assert not torch.equal(shown(clips, seeded())["v"], shown(other, seeded())["v"])


def test_stage_two_starts_from_the_base_and_leaves_it_frozen(
    base: tuple[SpatioTemporalUNet, PoseNet], control_net: ControlNet, tmp_path: Path
) -> None:
    """At first the loss is the base's; training changes the ControlNet alone and helps."""
    unet, pose_net = base
    freeze([unet, pose_net])
    plain = BaseObjective(unet, pose_net, scaling_factor=0.18215, dropped=0.0)
    objective = ControlObjective(
        control_net, unet, pose_net, scaling_factor=0.18215, left_out=NOTHING
    )
    clips = batch()
    with torch.no_grad():
        expected = plain(clips, seeded())["v"].item()
    before = objective(clips, seeded())["v"].item()
    assert before == pytest.approx(expected, rel=1e-5)
    frozen = [p.clone() for p in unet.parameters()]
    schedule = Schedule(steps=12, learning_rate=1e-2, warmup=2, average=0.5)
    trainer = Trainer({"control_net": control_net}, schedule, tmp_path, mixed=False)
    trainer.run(lambda _: objective(clips, seeded()))
    assert objective(clips, seeded())["v"].item() < before
    assert all(torch.equal(a, b) for a, b in zip(frozen, unet.parameters(), strict=True))


def test_kept_stacks_give_what_the_fields_give(
    base: tuple[SpatioTemporalUNet, PoseNet], control_net: ControlNet
) -> None:
    """The loss is the same whether the stacks' sum was computed before or is now."""
    objective = ControlObjective(control_net, *base, scaling_factor=0.18215)
    for projection in control_net.controlnet_down_blocks:
        torch.nn.init.normal_(projection.get_parameter("weight"), std=0.1)
    clips, embedding = batch(), control_net.controlnet_cond_embedding
    with torch.no_grad():
        sums = embedding.stacked(clips.dense.flatten(0, 1), clips.trajectory.flatten(0, 1))
        stacked = sums.reshape(CLIPS, FRAMES - 1, *sums.shape[1:])
        expected = objective(clips, seeded())["v"]
        found = objective(replace(clips, stacked=stacked), seeded())["v"]
        other = objective(replace(clips, stacked=-stacked), seeded())["v"]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(other, expected)


def test_without_pose_images_guidance_has_to_speak(
    base: tuple[SpatioTemporalUNet, PoseNet], control_net: ControlNet
) -> None:
    """Dropped pose images cannot change the loss; one of both guidances, and only that, can."""
    alone = NOTHING.model_copy(update={"alone": 1.0})
    objective = ControlObjective(control_net, *base, scaling_factor=0.18215, left_out=alone)
    for projection in control_net.controlnet_down_blocks:
        torch.nn.init.normal_(projection.get_parameter("weight"), std=0.1)
    clips = batch()
    with torch.no_grad():
        loss = objective(clips, seeded())["v"]
        redrawn = objective(replace(clips, poses=255 - clips.poses), seeded())["v"]
        coloured = objective(replace(clips, embedding=-clips.embedding), seeded())["v"]
        moved = objective(replace(clips, dense=-clips.dense), seeded())["v"]
    assert torch.equal(loss, redrawn)
    assert torch.equal(loss, coloured) != torch.equal(loss, moved)


def test_a_woken_motion_embedding_hears_both_fields(control_net: ControlNet) -> None:
    """As large as asked for; half of it or so is due to each field, however small its values."""
    embedding = control_net.controlnet_cond_embedding
    generator = torch.Generator().manual_seed(5)
    dense = 8 * torch.randn(6, 2, 64, 64, generator=generator)
    trajectory = 0.003 * torch.randn(6, 2, 64, 64, generator=generator)

    def change(first: torch.Tensor, second: torch.Tensor) -> float:
        nothing = torch.zeros_like(dense[:1])
        with torch.no_grad():
            difference = embedding(first, second) - embedding(nothing, nothing)
        return float(difference.square().mean().sqrt())

    nothing = torch.zeros_like(dense)
    assert change(nothing, trajectory) < 1e-3
    wake_motion_embedding(embedding, dense, trajectory, loudness=0.5)
    assert change(dense, trajectory) == pytest.approx(0.5, rel=1e-3)
    assert change(dense, nothing) > 0.15
    assert change(nothing, trajectory) > 0.15
