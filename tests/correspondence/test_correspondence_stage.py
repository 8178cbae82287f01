from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from dispose_stages.artifacts import Correspondence, Frame, PoseTrack
from dispose_stages.batch.stage import Context
from dispose_stages.batch.unit import Unit
from dispose_stages.config import load_config
from dispose_stages.correspondence.stage import STAGE
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.artifacts import ArtifactStore
from tests.toy_run import compute as compute_unit
from tests.toy_run import ready
from tests.toy_sd import write_toy_sd

HEIGHT, WIDTH = 128, 64
POSE_KEY = "a" * 16
PARAMS = {
    "resolution": 64,
    "person": "first",
    "seed": 42,
    "ensemble": 3,
    "timestep": 261,
    "prompt": "photo of a human",
    "keep_feature_maps": False,
}


def make_context(root: Path, *, persons: int = 1, unet_batch: int = 8) -> Context:
    write_toy_sd(root / "models" / "stable-diffusion-v1-5")
    rng = np.random.default_rng(0)
    frame = Frame(
        keypoints=rng.random((persons, 134, 2)),
        scores=np.tile(np.where(np.arange(134) % 3 == 0, 0.1, 0.9), (persons, 1)),
        boxes=np.zeros((persons, 4)),
        box_scores=np.ones(persons),
    )
    store = ArtifactStore(root / "store")
    store.write("pose", POSE_KEY, PoseTrack.from_frames([frame], [0], HEIGHT, WIDTH, 0.0))
    pixels = rng.integers(0, 256, (200, 150, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "reference.png")
    return Context(
        config=load_config({"correspondence": {"unet_batch": unet_batch}}),
        store=store,
        models_root=root / "models",
        device="cpu",
        videos=root / "videos",
    )


def make_unit(root: Path, **params: Any) -> Unit:
    sources = {"image": root / "reference.png"}
    return ready("correspondence", "c" * 16, PARAMS | params, sources, {"pose": ("pose", POSE_KEY)})


def compute(root: Path, context: Context, **params: Any) -> Correspondence:
    return compute_unit(STAGE.open(context), make_unit(root, **params))


def test_embedding_of_visible_keypoints(tmp_path: Path) -> None:
    """A feature per visible keypoint, zero for the others; the map only on request."""
    context = make_context(tmp_path)
    result = compute(tmp_path, context)
    assert result.embedding.shape == (18, 16)
    assert result.embedding.dtype == np.float32
    shown = np.arange(18) % 3 != 0
    assert (np.abs(result.embedding).sum(axis=1) > 0).tolist() == shown.tolist()
    assert result.feature_map is None
    kept = compute(tmp_path, context, keep_feature_maps=True)
    assert kept.feature_map is not None
    assert kept.feature_map.shape == (16, HEIGHT // 16, WIDTH // 16)
    np.testing.assert_array_equal(kept.embedding, result.embedding)


def test_two_runs_are_byte_identical(tmp_path: Path) -> None:
    """The committed files of two jobs do not differ in a byte."""
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        context = make_context(tmp_path / name)
        unit = make_unit(tmp_path / name, keep_feature_maps=True)
        stage = STAGE
        stage.repository(context).commit(unit, compute_unit(stage.open(context), unit))
        files.append(context.store.path("correspondence", unit.key).read_bytes())
    assert files[0] == files[1]


def test_seed_changes_the_noise_only(tmp_path: Path) -> None:
    """Another seed gives other features at the same keypoints, close to the first ones."""
    context = make_context(tmp_path)
    first, other = (compute(tmp_path, context, seed=seed, ensemble=64) for seed in (42, 43))
    assert not np.array_equal(first.embedding, other.embedding)
    np.testing.assert_array_equal(first.embedding == 0, other.embedding == 0)
    spread = np.abs(first.embedding - other.embedding).mean()
    assert spread < 0.5 * np.abs(first.embedding).mean()


def test_unet_batch_changes_no_more_than_rounding(tmp_path: Path) -> None:
    """Eight at once or one at a time."""
    results = []
    for batch in (1, 8):
        root = tmp_path / str(batch)
        root.mkdir()
        results.append(compute(root, make_context(root, unet_batch=batch)).embedding)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_nobody_in_the_reference(tmp_path: Path) -> None:
    """A typed reason before the network runs."""
    context = make_context(tmp_path, persons=0)
    with pytest.raises(UnitError) as caught:
        compute(tmp_path, context)
    assert caught.value.reason is Reason.NO_PERSON_REFERENCE


def test_features_that_are_no_number_are_a_typed_failure(tmp_path: Path) -> None:
    """A broken checkpoint must not end as an embedding."""
    context = make_context(tmp_path)
    path = context.models_root / "stable-diffusion-v1-5/unet/diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["conv_in.bias"][:] = float("inf")
    save_file(state, path)
    with pytest.raises(UnitError) as caught:
        compute(tmp_path, context)
    assert caught.value.reason is Reason.NUMERIC
