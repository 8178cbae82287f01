"""Stage 2 on artifacts of a run: `dispose train finetune`."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from dispose_stages.artifacts import Correspondence, Frame, MotionField, PoseTrack
from dispose_stages.atomic import readable_json, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.cli import cli
from dispose_stages.config import Config
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.training.bundle.tiny import make_tiny
from dispose_stages.training.tiny_configs import POINT_CHANNELS
from dispose_stages.weights import layout
from dispose_stages.weights.loading.diffusion import load_control_net, read_unet_config

MEDIA = Path(__file__).parents[2] / "manifests/media"
FRAMES, HEIGHT, WIDTH = 4, 128, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and a run of two pairs that is finished up to motion and correspondence."""
    root = tmp_path_factory.mktemp("finetune")
    make_tiny(root / "models")
    rng = np.random.default_rng(0)
    store = ArtifactStore(root / "store")
    records = []
    for number in range(2):
        frames = [
            Frame(rng.random((1, 134, 2)), np.ones((1, 134)), rng.random((1, 4)), np.ones(1))
            for _ in range(FRAMES + 1)
        ]
        indices = [-1, *range(0, 2 * FRAMES, 2)]
        motion = MotionField(
            poses=PoseTrack.from_frames(frames, indices, HEIGHT, WIDTH, 0.0),
            person=np.zeros(FRAMES + 1, dtype=np.int64),
            cmp_flow=rng.integers(-3000, 3000, (FRAMES, 2, 192, 192), dtype=np.int16),
            height=HEIGHT,
            width=WIDTH,
            scale=(1.0, 1.0),
            shift=(0.0, 0.0),
            residual=0.0,
        )
        embedding = rng.standard_normal((18, POINT_CHANNELS)).astype(np.float32)
        store.write("motion", f"{number}" * 16, motion)
        store.write("correspondence", f"{number + 2}" * 16, Correspondence(embedding))
        records.append(
            {
                "reference_image": "reference_blue.png",
                "driving_video": "driver_dance.mp4",
                "reference_frame": None,
                "key_motion": f"{number}" * 16,
                "key_correspondence": f"{number + 2}" * 16,
            }
        )
    # A pair that never came as far takes no part.
    records.append(records[0] | {"key_motion": None})
    run = RunLayout(root / "run")
    run.index.parent.mkdir(parents=True)
    pd.DataFrame(records).to_parquet(run.index)
    write_text(run.config, readable_json(Config().model_dump(mode="json")))
    return root


def finetune(folder: Path, output: str, steps: int, *options: str) -> str:
    """Run the command to so many steps; returns what it said."""
    arguments = ["train", "finetune", str(folder / "run"), "--media", str(MEDIA), *options]
    arguments += ["--store", str(folder / "store"), "--models", str(folder / "models")]
    arguments += ["--output", str(folder / output), "--steps", str(steps)]
    arguments += ["--accumulate", "1", "--frames", "3", "--device", "cpu", "--workers", "0"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def control_net(folder: Path, output: str | None) -> dict[str, torch.Tensor]:
    """Weights of a ControlNet, read as the pipeline reads them; the bundle's own for None."""
    models = folder / "models"
    path = (folder / output if output else models) / layout.DISPOSE
    network = load_control_net(path, read_unet_config(models / layout.SVD), dtype=torch.float32)
    return dict(network.state_dict())


def test_training_goes_on_where_it_stopped_and_writes_a_checkpoint(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only finished pairs count, resuming is told, and the result is what the pipeline loads."""
    assert "2 pairs" in finetune(folder, "a", 1, "--learning-rate", "1e-3")
    first = control_net(folder, "a")
    with caplog.at_level(logging.INFO):
        finetune(folder, "a", 3, "--learning-rate", "1e-3")
    assert "continuing at step 1" in caplog.text
    start, last = control_net(folder, None), control_net(folder, "a")
    assert start.keys() == first.keys() == last.keys()
    moved = [not torch.equal(start[key], last[key]) for key in start]
    assert np.mean(moved) > 0.9
    assert any(not torch.equal(first[key], last[key]) for key in first)
    assert all(bool(torch.isfinite(value).all()) for value in last.values())


def test_too_few_pairs_are_an_error(folder: Path) -> None:
    """A batch that no epoch fills would wait for ever."""
    result = CliRunner().invoke(
        cli,
        [
            *("train", "finetune", str(folder / "run"), "--media", str(MEDIA), "--batch", "3"),
            *("--store", str(folder / "store"), "--models", str(folder / "models")),
            *("--output", str(folder / "none"), "--device", "cpu"),
        ],
    )
    assert result.exit_code != 0
    assert "2 pairs do not fill a batch of 3" in f"{result.output}{result.exception}"
