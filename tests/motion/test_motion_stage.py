from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.batch.stage import Context
from dispose_stages.batch.unit import Unit
from dispose_stages.config import load_config
from dispose_stages.errors import Reason, UnitError, WeightsError
from dispose_stages.geometry.dense_field import FIXED_POINT_STEP
from dispose_stages.models.cmp import CmpWidths
from dispose_stages.motion.stage import STAGE
from dispose_stages.store.artifacts import ArtifactStore
from tests.parity.families.motion import formula_cmp
from tests.toy_run import compute, ready

HEIGHT, WIDTH = 128, 64
REFERENCE_KEY, DRIVING_KEY = "a" * 16, "b" * 16
WIDTHS = CmpWidths(
    stem=4,
    stages=(4, 4, 4, 4),
    image=4,
    sparse=4,
    branch=4,
    fusion8=4,
    skip4=4,
    fusion4=4,
    skip2=4,
    fusion2=4,
    bins=9,
)
PARAMS = {
    "resolution": 64,
    "compat": "official",
    "person": "first",
    "min_visible_keypoints": 1,
    "max_alignment_residual": 1.0,
    "min_alignment_scale": 0.05,
    "max_alignment_scale": 20.0,
}


def pose(frames: int, height: int, width: int, seed: int) -> PoseTrack:
    rng = np.random.default_rng(seed)
    body = np.random.default_rng(9).random((134, 2)) * 0.6 + 0.2
    people = [
        Frame(
            keypoints=(body + rng.normal(0, 0.02, body.shape))[None],
            scores=rng.uniform(0.2, 1.0, (1, 134)),
            boxes=np.array([[0.0, 0.0, width, height]]),
            box_scores=np.ones(1),
        )
        for _ in range(frames)
    ]
    return PoseTrack.from_frames(people, list(range(frames)), height, width, 24.0)


def make_context(root: Path, *, frames: int = 5, **motion: Any) -> Context:
    models = root / "models"
    models.mkdir(parents=True)
    network = formula_cmp(prefix="cmp.", salt="stage", widths=WIDTHS)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"step": 1, "state_dict": state}, models / "ckpt_iter_42000.pth.tar")
    store = ArtifactStore(root / "store")
    store.write("pose", REFERENCE_KEY, pose(1, HEIGHT, WIDTH, 0))
    store.write("pose", DRIVING_KEY, pose(frames, 180, 320, 1))
    pixels = np.random.default_rng(2).integers(0, 256, (300, 150, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "reference.png")
    return Context(
        config=load_config({"motion": motion}),
        store=store,
        models_root=models,
        device="cpu",
        videos=root / "videos",
    )


def make_unit(root: Path, **params: Any) -> Unit:
    poses = {"reference_pose": ("pose", REFERENCE_KEY), "driving_pose": ("pose", DRIVING_KEY)}
    params = {**PARAMS, **params}
    return ready("motion", "c" * 16, params, {"image": root / "reference.png"}, poses)


def test_unit_gives_tracks_and_small_flow(tmp_path: Path) -> None:
    """Reference first, aligned driver after it, and CMP's own flow as 16-bit numbers."""
    context = make_context(tmp_path)
    motion = compute(STAGE.open(context), make_unit(tmp_path))
    assert (motion.height, motion.width) == (HEIGHT, WIDTH)
    assert (len(motion.poses), motion.cmp_flow.shape) == (6, (5, 2, 192, 192))
    assert motion.cmp_flow.dtype == np.int16
    assert len(np.unique(motion.cmp_flow)) > 1000
    aligned = motion.poses[1].keypoints
    driving = context.store.read("pose", DRIVING_KEY, PoseTrack)[0].keypoints
    np.testing.assert_allclose(aligned, driving * motion.scale + motion.shift)
    np.testing.assert_array_equal(
        motion.poses[0].keypoints, context.store.read("pose", REFERENCE_KEY, PoseTrack)[0].keypoints
    )


def test_two_runs_are_byte_identical(tmp_path: Path) -> None:
    """The committed files of two jobs do not differ in a byte."""
    files = []
    for name in ("one", "two"):
        context = make_context(tmp_path / name)
        stage, unit = STAGE, make_unit(tmp_path / name)
        stage.repository(context).commit(unit, compute(stage.open(context), unit))
        files.append(context.store.path("motion", unit.key).read_bytes())
    assert files[0] == files[1]


def test_decoder_batch_changes_no_more_than_rounding(tmp_path: Path) -> None:
    """Batched and frame by frame agree to one unit of the fixed point."""
    flows = []
    for batch in (1, 4):
        context = make_context(tmp_path / str(batch), decoder_batch=batch)
        unit = make_unit(tmp_path / str(batch))
        flows.append(compute(STAGE.open(context), unit).cmp_flow.astype(np.int64))
    assert np.abs(flows[0] - flows[1]).max() * FIXED_POINT_STEP < 2e-3


def test_compat_changes_the_flow(tmp_path: Path) -> None:
    """Hidden keypoints are in the official input and not in the corrected one."""
    context = make_context(tmp_path)
    worker = STAGE.open(context)
    official = compute(worker, make_unit(tmp_path))
    corrected = compute(worker, make_unit(tmp_path, compat="corrected"))
    assert not np.array_equal(official.cmp_flow, corrected.cmp_flow)
    np.testing.assert_array_equal(official.poses.keypoints, corrected.poses.keypoints)


def test_bounds_are_those_of_the_unit(tmp_path: Path) -> None:
    """A pair out of bounds fails with its reason before the network runs."""
    worker = STAGE.open(make_context(tmp_path))
    with pytest.raises(UnitError) as caught:
        compute(worker, make_unit(tmp_path, max_alignment_residual=1e-9))
    assert caught.value.reason is Reason.ALIGNMENT_POOR


def test_flow_that_is_no_number_is_a_typed_failure(tmp_path: Path) -> None:
    """A broken checkpoint must not end as a field of zeros."""
    context = make_context(tmp_path)
    path = context.models_root / "ckpt_iter_42000.pth.tar"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["module.flow_decoder.head.bias"][:] = float("nan")
    torch.save(content, path)
    with pytest.raises(UnitError) as caught:
        compute(STAGE.open(context), make_unit(tmp_path))
    assert caught.value.reason is Reason.NUMERIC


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    """The error says which file is missing."""
    context = make_context(tmp_path)
    (context.models_root / "ckpt_iter_42000.pth.tar").unlink()
    with pytest.raises(WeightsError, match="ckpt_iter_42000"):
        STAGE.open(context)


def test_state_of_72_frames_is_small(tmp_path: Path) -> None:
    """At most 12 MB for a pair, even if the flow is noise, which nothing compresses."""
    context = make_context(tmp_path, frames=72)
    store = context.store
    poses = store.read("pose", DRIVING_KEY, PoseTrack)
    reference = store.read("pose", REFERENCE_KEY, PoseTrack)[0]
    frames = [reference, *(poses[index] for index in range(72))]
    noise = np.random.default_rng(0).integers(-32767, 32768, (72, 2, 192, 192)).astype(np.int16)
    motion = MotionField(
        poses=PoseTrack.from_frames(frames, list(range(-1, 72)), HEIGHT, WIDTH, 24.0),
        person=np.zeros(73, dtype=np.int64),
        cmp_flow=noise,
        height=HEIGHT,
        width=WIDTH,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        residual=0.0,
    )
    store.write("motion", "d" * 16, motion)
    size = store.path("motion", "d" * 16).stat().st_size
    assert size <= 12_000_000
    back = store.read("motion", "d" * 16, MotionField)
    np.testing.assert_array_equal(back.cmp_flow, noise)
