"""The extractor of diffusion features that the small bundle is trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dispose_stages.correspondence.features import network_image
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.clips import clip_scene, render_clip
from dispose_stages.training.features import FeatureBatches, FeatureObjective, mean_encoder
from dispose_stages.training.loop import Schedule, Trainer
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.settings import Clips, load_settings
from dispose_stages.training.steps import Training

SIZES = Clips(count=4, frames=2, height=192, width=128, first_seed=70, motley=1.0)
SETTINGS = Path(__file__).parents[2] / "config" / "train.yaml"


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> PoseStore:
    """A few motley figures."""
    clips = ClipStore.create(tmp_path_factory.mktemp("clips"), SIZES)
    clips.fill()
    store = PoseStore(clips)
    store.fill()
    return store


def test_latents_are_mean_colours() -> None:
    """Of every 8 by 8 pixels, whatever the image's brightness; the fourth sees left from right."""
    encoder = mean_encoder()
    image = render_clip(clip_scene(71, frames=2, height=192, width=128))[0][0]
    for shown in (image, image // 4):
        pixels = network_image(shown)
        with torch.no_grad():
            mean, deviation = encoder(pixels)
        means = F.avg_pool2d(pixels, 8)
        told = mean[:, :3] * 0.18215 / 4
        torch.testing.assert_close(told, means, atol=0.01, rtol=0.03)
        halves = F.avg_pool2d(pixels.mean(dim=1, keepdim=True), (8, 4))
        brighter = (halves[..., 1::2] - halves[..., ::2]) / 2
        assert np.corrcoef(mean[0, 3].flatten(), brighter.flatten())[0, 1] > 0.95
        assert deviation.max() < 0.01


def test_features_learn_colours_and_the_bundle_keeps_them(poses: PoseStore, tmp_path: Path) -> None:
    """A few steps lower the error; what the extractor's files give is what was trained."""
    training = Training(load_settings(SETTINGS, folder=tmp_path))
    dift = training.extractor()
    dift.unet.requires_grad_(requires_grad=True)
    batches = FeatureBatches(poses, dift.vae, size=4, scaling_factor=dift.scaling_factor)
    objective = FeatureObjective(dift, timestep=261, height=192, width=128)

    def error() -> float:
        with torch.no_grad():
            terms = objective(batches(0), torch.Generator().manual_seed(1))
        return float(terms["colours"])

    before = error()
    networks = {"unet": dift.unet, "read_out": objective.read_out}
    schedule = Schedule(steps=15, learning_rate=3e-3, warmup=2, average=0.5)
    Trainer(networks, schedule, tmp_path, mixed=False).run(
        lambda batch: objective(batches(0), torch.Generator().manual_seed(batch))
    )
    assert error() < 0.8 * before
    again = training.extractor(dift.unet.state_dict())
    noisy = torch.randn(1, 4, 24, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = (network.features(noisy, 261) for network in (dift, again))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
