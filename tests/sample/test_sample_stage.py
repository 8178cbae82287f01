"""The stage from artifacts to latents, on the tiny bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dispose_stages.artifacts import Correspondence, Frame, Latents, MotionField, PoseTrack
from dispose_stages.batch.stage import Context, InterruptedUnitError
from dispose_stages.batch.unit import Unit
from dispose_stages.config import Config
from dispose_stages.errors import Reason, UnitError
from dispose_stages.sample.stage import STAGE, SampleWorker
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.training.bundle.tiny import make_tiny
from dispose_stages.training.tiny_configs import POINT_CHANNELS
from tests.toy_run import compute, ready

# diffusers' scheduler calls NumPy 2 on a tensor, which torch does not support without a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FRAMES, HEIGHT, WIDTH = 5, 128, 64
KEYS = {"motion": "0" * 16, "correspondence": "1" * 16}
PARAMS: dict[str, Any] = {
    "resolution": 64,
    "seed": 1,
    "tile_size": 4,
    "tile_overlap": 2,
    "num_inference_steps": 3,
    "guidance_min": 2.0,
    "guidance_max": 2.0,
    "noise_aug_strength": 0.0,
    "compat": "official",
    "noise": "cpu",
    "precision": "fp32",
    "motion_guidance": True,
    "correspondence_guidance": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, a reference image and the upstream artifacts of one pair."""
    root = tmp_path_factory.mktemp("sample")
    make_tiny(root / "models")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (150, 80, 3), dtype=np.uint8)).save(root / "image.png")
    frames = [
        Frame(rng.random((1, 134, 2)), rng.random((1, 134)), rng.random((1, 4)), np.ones(1))
        for _ in range(FRAMES)
    ]
    motion = MotionField(
        poses=PoseTrack.from_frames(frames, list(range(FRAMES)), HEIGHT, WIDTH, 0.0),
        person=np.zeros(FRAMES, dtype=np.int64),
        cmp_flow=rng.integers(-3000, 3000, (FRAMES - 1, 2, 192, 192), dtype=np.int16),
        height=HEIGHT,
        width=WIDTH,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        residual=0.0,
    )
    store = ArtifactStore(root / "store")
    store.write("motion", KEYS["motion"], motion)
    embedding = rng.standard_normal((18, POINT_CHANNELS)).astype(np.float32)
    store.write("correspondence", KEYS["correspondence"], Correspondence(embedding))
    return root


def new_context(folder: Path) -> Context:
    sampling = {"precision": "fp32", "checkpoint_every": 2, "tile_batch": 2}
    return Context(
        config=Config.model_validate({"sampling": sampling, "compute": {"threads": 1}}),
        store=ArtifactStore(folder / "store"),
        models_root=folder / "models",
        device="cpu",
        videos=folder / "videos",
    )


@pytest.fixture
def context(folder: Path) -> Context:
    return new_context(folder)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> SampleWorker:
    return STAGE.open(new_context(folder))


@pytest.fixture
def worker(loaded: SampleWorker, context: Context) -> SampleWorker:
    """Each test has its own context; the networks are loaded once."""
    return SampleWorker(loaded._networks, loaded._placement, context)


def new_unit(folder: Path, key: str, **changes: Any) -> Unit:
    params = PARAMS | changes
    roles = ["motion", *(["correspondence"] if params["correspondence_guidance"] else [])]
    sources = {"image": folder / "image.png"}
    return ready("sample", key, params, sources, {role: (role, KEYS[role]) for role in roles})


def test_clip_is_sampled_and_kept(folder: Path, context: Context, worker: SampleWorker) -> None:
    """Latents of all frames, finite, the same each time, and another seed gives others."""
    unit = new_unit(folder, "a" * 16)
    first, again = compute(worker, unit), compute(worker, unit)
    assert first.latents.shape == (FRAMES, 4, HEIGHT // 8, WIDTH // 8)
    assert first.latents.dtype == np.float32
    assert np.isfinite(first.latents).all()
    assert np.array_equal(first.latents, again.latents)
    other = compute(worker, new_unit(folder, "b" * 16, seed=2))
    assert not np.array_equal(first.latents, other.latents)
    repository = STAGE.repository(context)
    repository.commit(unit, first)
    assert repository.find(unit) is not None
    read = context.store.read("sample", unit.key, Latents)
    assert np.array_equal(read.latents, first.latents)


def stop_within(context: Context, calls: int) -> None:
    """The job is asked to stop at the so many-th question; a step of two tiles asks three times."""
    asked = iter(range(1, 100))
    context.stop_requested = lambda: next(asked) >= calls


@pytest.mark.parametrize(("calls", "step"), [(3, 1), (4, 1), (6, 2), (8, 2), (9, 3)])
def test_stopped_clip_goes_on_where_it_was(
    folder: Path, context: Context, worker: SampleWorker, calls: int, step: int
) -> None:
    """Stopped after a step or within one: computing it again goes on at the last whole step.

    The bits are those of a whole run.
    """
    unit = new_unit(folder, "c" * 15 + str(calls))
    stop_within(context, calls)
    with pytest.raises(InterruptedUnitError):
        compute(worker, unit)
    context.stop_requested = lambda: False
    assert worker.read(unit)["progress"].state.step == step
    resumed = compute(worker, unit)
    STAGE.repository(context).commit(unit, resumed)
    assert context.store.read_partial("sample", unit.key) is None
    whole = compute(worker, new_unit(folder, "d" * 16))
    assert np.array_equal(resumed.latents, whole.latents)


def test_a_stop_within_the_first_step_keeps_nothing(
    folder: Path, context: Context, worker: SampleWorker
) -> None:
    """There is no state yet; the clip begins anew."""
    unit = new_unit(folder, "bc" * 8)
    stop_within(context, 1)
    with pytest.raises(InterruptedUnitError):
        compute(worker, unit)
    assert context.store.read_partial("sample", unit.key) is None


def test_a_clip_longer_than_its_jobs_is_done_by_many(
    folder: Path, context: Context, worker: SampleWorker
) -> None:
    """Each job has time for one step and a part of the next; every one begins a step later."""
    unit, begun, steps = new_unit(folder, "bd" * 8), [], []
    context.say_step = lambda step, _: steps.append(step)
    for job in range(4):
        stop_within(context, 5)
        state = worker.read(unit)["progress"].state
        begun.append(state.step if state else 0)
        try:
            latents = compute(worker, unit).latents
        except InterruptedUnitError:
            assert job < 3
        else:
            break
    assert (begun, steps) == ([0, 1, 2], [1, 2, 3])
    context.stop_requested = lambda: False
    assert np.array_equal(latents, compute(worker, new_unit(folder, "be" * 8)).latents)


def test_state_survives_a_kill(folder: Path, context: Context, worker: SampleWorker) -> None:
    """Without any notice, the last state at the interval is what the next job starts from."""
    unit = new_unit(folder, "e" * 16)

    def die(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    context.say_step = die
    with pytest.raises(KeyboardInterrupt):
        compute(worker, unit)
    context.say_step = lambda *_: None
    assert worker.read(unit)["progress"].state.step == 2
    resumed = compute(worker, unit)
    assert np.array_equal(resumed.latents, compute(worker, new_unit(folder, "f" * 16)).latents)


@pytest.mark.parametrize(
    ("knobs", "killed_at", "goes_on"),
    [
        ({"solver": "dpmpp_2m"}, 3, 2),
        ({"guidance_interval": (1.0, 50.0)}, 3, 2),
        ({"cache_interval": 2}, 2, 2),
        ({"cache_interval": 2, "guidance_interval": (1.0, 50.0), "solver": "dpmpp_2m"}, 3, 2),
    ],
)
def test_a_shortened_clip_survives_a_kill(
    folder: Path,
    context: Context,
    worker: SampleWorker,
    knobs: dict[str, Any],
    killed_at: int,
    goes_on: int,
) -> None:
    """From the last stored state before a whole step, to the same bits."""
    knobs = {"num_inference_steps": 5} | knobs
    unit = new_unit(folder, f"{len(str(knobs)):014d}{killed_at}{goes_on}", **knobs)
    looks = iter(range(1, 10))

    def die(*_: int) -> None:
        if next(looks) == killed_at:
            raise KeyboardInterrupt

    context.say_step = die
    with pytest.raises(KeyboardInterrupt):
        compute(worker, unit)
    context.say_step = lambda *_: None
    assert worker.read(unit)["progress"].state.step == goes_on
    resumed = compute(worker, unit)
    whole = compute(worker, replace(unit, key=f"f{unit.key[1:]}"))
    assert np.array_equal(resumed.latents, whole.latents)


@pytest.fixture
def tight_memory(worker: SampleWorker) -> Iterator[list[int]]:
    """The UNet runs out of memory as often as the returned list says."""
    left = [0]

    def fail(*_: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("fake")

    unet: Any = worker._networks.unet
    handle = unet.register_forward_pre_hook(fail)
    yield left
    handle.remove()


@pytest.mark.parametrize("failures", [1, 3])
def test_out_of_memory_descends_and_is_noted(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    worker: SampleWorker,
    tight_memory: list[int],
    failures: int,
) -> None:
    """The unit is retried on lower rungs, the rung is said, the latents agree."""
    caplog.set_level("INFO")
    plenty = compute(worker, new_unit(folder, "ab" * 8))
    tight_memory[0] = failures
    tight = compute(worker, new_unit(folder, "ac" * 8))
    rungs = ["tile_batch", "single_tile", "sequential_halves", "offload_idle"]
    assert f"sampled on memory rung {rungs[failures]!r}" in caplog.messages
    error = np.linalg.norm(tight.latents - plenty.latents)
    assert error <= 1e-3 * np.linalg.norm(plenty.latents)


def test_out_of_memory_to_the_end_fails_the_unit(
    folder: Path, worker: SampleWorker, tight_memory: list[int]
) -> None:
    """With a typed reason."""
    tight_memory[0] = 99
    with pytest.raises(UnitError) as error:
        compute(worker, new_unit(folder, "ad" * 8))
    assert error.value.reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize("interval", [0, 1])
def test_not_a_number_is_a_typed_failure(
    folder: Path, context: Context, worker: SampleWorker, interval: int
) -> None:
    """No video of garbage, and no state of garbage either."""
    sampling = context.config.sampling.model_copy(update={"checkpoint_every": interval})
    context.config = context.config.model_copy(update={"sampling": sampling})
    unet: Any = worker._networks.unet
    handle = unet.register_forward_hook(lambda _m, _i, output: output * float("nan"))
    unit = new_unit(folder, "ae" * 8)
    with pytest.raises(UnitError) as error:
        compute(worker, unit)
    handle.remove()
    assert error.value.reason is Reason.NUMERIC
    assert context.store.read_partial("sample", unit.key) is None


@pytest.mark.parametrize(("motion", "points"), [(True, False), (False, True), (False, False)])
def test_ablations(folder: Path, worker: SampleWorker, motion: bool, points: bool) -> None:
    """Each switch gives other latents; without correspondence its artifact is not asked for."""
    full = compute(worker, new_unit(folder, "af" * 8)).latents
    unit = new_unit(folder, "ba" * 8, motion_guidance=motion, correspondence_guidance=points)
    ablated = compute(worker, unit).latents
    assert np.abs(ablated - full).max() > 1e-2


def test_missing_reference_is_the_units_fault(folder: Path, worker: SampleWorker) -> None:
    """The image may have gone since the plan was made."""
    unit = new_unit(folder, "bb" * 8)
    with pytest.raises(UnitError) as error:
        compute(worker, replace(unit, sources={"image": str(folder / "gone.png")}))
    assert error.value.reason is Reason.MEDIA_MISSING
