"""Training clips, their poses and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dispose_stages.training.base import figure_weight
from dispose_stages.training.clip_batches import ClipBatches
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.clips import clip_scene, render_clip
from dispose_stages.training.latents import LatentStore
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.poses import observed_poses
from dispose_stages.training.settings import Clips
from dispose_stages.training.world.scene import VISIBLE

SIZES = Clips(count=3, frames=3, height=64, width=64, first_seed=50)


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> PoseStore:
    """A small store with poses."""
    clips = ClipStore.create(tmp_path_factory.mktemp("clips"), SIZES)
    clips.fill(chunk=2)
    store = PoseStore(clips)
    store.fill(chunk=2)
    return store


def test_a_clip_depends_on_its_seed_alone() -> None:
    """The same seed renders the same clip, another one another clip."""
    first, again, other = (
        render_clip(clip_scene(seed, frames=2, height=64, width=64))[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_limb_of_a_motley_figure_has_its_own_colour() -> None:
    """Its hues differ from limb to limb; the pose is that of the plain figure of the same seed."""
    plain = clip_scene(9, frames=2, height=192, width=128)
    motley = clip_scene(9, frames=2, height=192, width=128, motley=1.0)
    limbs = motley.actors[0][0].look.limbs
    assert limbs is not None
    assert len({*limbs.arms, *limbs.legs}) == 4
    assert plain.actors[0][0].look.limbs is None
    assert plain.actors[0][0].shape == motley.actors[0][0].shape
    frame = motley.render(0)
    shown = {tuple(colour) for colour in frame.image.reshape(-1, 3).tolist()}
    assert {*limbs.arms, *limbs.legs} <= shown


def test_the_reference_moves_farther_than_one_frame() -> None:
    """Frame 0 is no mere predecessor: on average it differs more than neighbours do."""
    jumps, steps = [], []
    for seed in range(12):
        points = render_clip(clip_scene(seed, frames=3, height=96, width=64))[1][:, :17, :2]
        jumps.append(np.abs(points[1] - points[0]).mean())
        steps.append(np.abs(points[2] - points[1]).mean())
    assert np.mean(jumps) > 1.5 * np.mean(steps)


def test_the_store_is_complete_and_can_be_opened_again(poses: PoseStore) -> None:
    """What was written is what the seeds render; an equal store is not rendered twice."""
    assert poses.clips.ready == poses.ready == SIZES.count
    images, _, _ = render_clip(clip_scene(52, frames=3, height=64, width=64))
    reopened = ClipStore.create(poses.clips.folder, SIZES)
    assert reopened.ready == SIZES.count
    assert np.array_equal(reopened.images[2], images)


def test_clips_of_other_sizes_take_everything_about_the_former_with_them(tmp_path: Path) -> None:
    """Poses of clips that are gone are not taken for those of the new ones."""
    for height in (64, 128):
        store = PoseStore(ClipStore.create(tmp_path, SIZES.model_copy(update={"height": height})))
        assert store.ready == store.clips.ready == 0
        store.clips.fill()
        store.fill()
        assert store.rasters.shape[-2] == height


def test_without_noise_observed_poses_are_the_truth() -> None:
    """Left shoulder, wrists and ankles are where the world says, in the 134-point order."""
    _, keypoints, _ = render_clip(clip_scene(3, frames=2, height=96, width=64))
    points, scores = observed_poses(keypoints, 96, 64, np.random.default_rng(0), noise=0.0)
    coco = keypoints[:, [5, 9, 10, 15, 16], :2] / [64, 96]
    np.testing.assert_allclose(points[:, [5, 7, 4, 13, 10]], coco, atol=1e-6)
    assert (scores[:, :18] > 0.3).mean() > 0.9


def test_noise_grows_with_the_figure_and_hidden_points_score_less() -> None:
    """Deviation is a share of the figure's height; occluded keypoints are missed more often."""
    _, keypoints, _ = render_clip(clip_scene(4, frames=3, height=192, width=128))
    truth, _ = observed_poses(keypoints, 192, 128, np.random.default_rng(0), noise=0.0)
    noisy, scores = observed_poses(keypoints, 192, 128, np.random.default_rng(0))
    off = np.abs((noisy - truth) * [128, 192])[:, :18].mean()
    assert 0.2 < off < 3.0
    seen = keypoints[..., 2] == VISIBLE
    assert scores[:, 24:92].mean() > 0.3
    assert seen.any()


def test_batches_hold_every_clip_once_per_epoch(poses: PoseStore) -> None:
    """An epoch is a permutation, the next one another, and weights are highest on the figure."""
    latents = LatentStore(poses.clips)
    latents.modes[:] = np.arange(SIZES.count)[:, None, None, None, None]
    batches = ClipBatches(poses, latents, torch.zeros(SIZES.count, 5), clips=1)
    epochs = [[int(batches(3 * e + i).latents[0, 0, 0, 0, 0]) for i in range(3)] for e in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    batch = batches(0)
    assert batch.poses.shape == (1, 3, 3, 64, 64)
    assert batch.weight.unique().tolist() == pytest.approx([0.3, 1.0])


def test_the_weight_covers_the_figure_here_and_in_the_reference() -> None:
    """Where the figure leaves, the background has to be painted: that counts as well."""
    boxes = np.array([[0.0, 0.0, 16.0, 16.0], [48.0, 48.0, 64.0, 64.0]])
    weight = figure_weight(boxes, 64, 64)[:, 0]
    assert weight[0, 0, 0] == weight[1, 0, 0] == weight[1, 7, 7] == 1
    assert weight[0, 7, 7] == weight[1, 4, 3] == np.float32(0.3)
