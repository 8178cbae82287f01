from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from dispose_stages import __version__
from dispose_stages.artifacts import Latents
from dispose_stages.batch.stage import Context, InterruptedUnitError
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import Compute, Config
from dispose_stages.errors import Reason, UnitError
from dispose_stages.models.autoencoder import TemporalAutoencoder
from dispose_stages.models.video_decoder import VaeDecoder, decode_video
from dispose_stages.mux.stage import STAGE, MuxWorker, _audio
from dispose_stages.mux.unit import MuxParams
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.ffmpeg import ffmpeg_binary
from dispose_stages.store.video import VideoReader
from tests.store.clips import facts_of, run_ffmpeg
from tests.toy_run import compute, ready

SAMPLE_KEY, MOTION_KEY, POSE_KEY, MUX_KEY = "5a" * 20, "30" * 20, "4c" * 20, "0f" * 20


@pytest.fixture(scope="module")
def vae() -> TemporalAutoencoder:
    """A temporal VAE of small width with the real factor of eight."""
    torch.manual_seed(0)
    return TemporalAutoencoder((32, 32, 32, 32), 1).eval()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A job's surroundings, with the latents of six frames in the store."""
    store = ArtifactStore(tmp_path / "store")
    latents = np.random.default_rng(0).normal(size=(6, 4, 8, 12)).astype(np.float16)
    upstream = {"motion": {"stage": "motion", "key": MOTION_KEY, "digest": "d"}}
    upstream |= {"media": {"stage": "ingest", "key": "1a" * 32, "digest": "1a" * 32}}
    store.write("sample", SAMPLE_KEY, Latents(latents), {"upstream": upstream})
    poses = {"driving_pose": {"stage": "pose", "key": POSE_KEY, "digest": "d"}}
    store.write("motion", MOTION_KEY, Latents(latents), {"upstream": poses})
    driver = {"media": {"stage": "ingest", "key": "2b" * 32, "digest": "2b" * 32}}
    store.write("pose", POSE_KEY, Latents(latents), {"upstream": driver})
    return Context(Config(), store, tmp_path / "models", "cpu", tmp_path / "videos")


def unit_of(context: Context, **params: Any) -> Unit:
    """A unit of the stage, with some parameters changed."""
    config = context.config
    defaults = {
        "pair_id": "pair.1",
        "precision": "fp32",
        "fps": 15.0,
        "decode_chunk_size": 4,
        "seed": 7,
        "compat": "official",
        "sample_stride": 2,
        "start_frame": 0,
        **config.encoding.model_dump(),
        "preset": "ultrafast",
    }
    return ready("mux", MUX_KEY, defaults | params, {}, {"sample": ("sample", SAMPLE_KEY)})


def run(vae: TemporalAutoencoder, context: Context, unit: Unit) -> Path:
    """Compute and commit a unit; the delivered file."""
    repository = STAGE.repository(context)
    assert repository.find(unit) is None
    committed = repository.commit(unit, compute(MuxWorker(VaeDecoder(vae), context), unit))
    assert repository.find(unit) == committed
    return context.videos / committed.facts["file"]


@pytest.mark.parametrize("beside", [0, 1])
def test_the_delivered_video(vae: TemporalAutoencoder, context: Context, beside: int) -> None:
    """One frame less than latents, eight times their size, showing the decoded pixels."""
    unit = unit_of(context, crf=1, pixel_format="yuv444p", decode_context=beside)
    path = run(vae, context, unit)
    latents = torch.from_numpy(context.store.read("sample", SAMPLE_KEY, Latents).latents)

    def decoded(beside: int) -> np.ndarray:
        how: dict[str, Any] = {"scaling_factor": 0.18215, "dtype": torch.float32}
        chunks = decode_video(latents, VaeDecoder(vae), chunk_size=4, context=beside, **how)
        return torch.cat(list(chunks)).numpy()

    expected = decoded(beside)
    assert expected.shape == (5, 64, 96, 3)
    assert np.abs(expected.astype(int) - decoded(1 - beside)).max() > 0
    with VideoReader(path) as reader:
        assert (reader.frame_count, reader.height, reader.width, reader.fps) == (5, 64, 96, 15.0)
        for index, frame in reader.frames(range(5)):
            assert np.abs(frame.astype(int) - expected[index]).mean() < 3
    assert not list((context.videos / ".staging").iterdir())


def test_the_file_says_what_it_is(vae: TemporalAutoencoder, context: Context) -> None:
    """That it is synthetic, pair, seed, version, weights, sources and the keys of all stages.

    The sidecar says the same.
    """
    path = run(vae, context, unit_of(context))
    command = [ffmpeg_binary(), "-hide_banner", "-i", str(path)]
    text = subprocess.run(command, capture_output=True, check=False).stderr.decode()
    tags = dict(re.findall(r"^ +(\w+) *: (.*)$", text, re.MULTILINE))
    assert tags["pair_id"] == "pair.1"
    assert tags["seed"] == "7"
    assert tags["weights"] == "small"
    assert tags["dispose_version"] == __version__
    assert (tags["sample_key"], tags["motion_key"]) == (SAMPLE_KEY, MOTION_KEY)
    assert tags["synthetic"] == "true"
    assert tags["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert (tags["reference_digest"], tags["driver_digest"]) == ("1a" * 32, "2b" * 32)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["synthetic"] is True
    assert sidecar["metadata"].items() <= tags.items()
    assert sidecar["metadata"].keys() >= {"synthetic", "driver_digest", "mux_key"}


def test_two_runs_give_the_same_bytes(vae: TemporalAutoencoder, context: Context) -> None:
    """The digest in the ledger depends on the unit only."""
    unit = unit_of(context)
    first = run(vae, context, unit).read_bytes()
    other = dataclasses.replace(context, videos=context.videos.parent / "again")
    assert run(vae, other, unit).read_bytes() == first


def test_png_frames(vae: TemporalAutoencoder, context: Context) -> None:
    """The frames folder holds the exact pixels, numbered from 0, and nothing of an earlier try."""
    stale = context.videos / ".staging" / f"pair.1.{MUX_KEY}.frames" / "99999.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    run(vae, context, unit_of(context, png_frames=True))
    folder = context.videos / "pair.1.frames"
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:05d}.png" for i in range(5)]
    latents = torch.from_numpy(context.store.read("sample", SAMPLE_KEY, Latents).latents)
    chunks = decode_video(
        latents, VaeDecoder(vae), chunk_size=4, scaling_factor=0.18215, dtype=torch.float32
    )
    np.testing.assert_array_equal(
        np.asarray(Image.open(folder / "00004.png")), torch.cat(list(chunks))[4].numpy()
    )


def test_sound_of_the_driver(vae: TemporalAutoencoder, context: Context, tmp_path: Path) -> None:
    """Sound is added where it is wanted and there; its absence is no failure."""
    driver = tmp_path / "driver.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=30:duration=1")
    run_ffmpeg(*picture, "-f", "lavfi", "-i", "sine=duration=1", "-pix_fmt", "yuv420p", driver)
    silent = tmp_path / "silent.mp4"
    run_ffmpeg("-i", driver, "-an", "-c:v", "copy", silent)
    for source, codec in ((driver, "aac"), (silent, "")):
        wanted = unit_of(context, copy_audio=True, pair_id=source.stem)
        media = Result(key="k", digest="d", facts={"fps": 30.0})
        wanted = dataclasses.replace(
            wanted,
            sources={"video": str(source)},
            upstream={**wanted.upstream, "media": ("ingest", "m")},
            inputs={**wanted.inputs, "media": media},
        )
        assert facts_of(run(vae, context, wanted)).audio_codec == codec


@pytest.mark.parametrize(
    ("options", "late", "start", "expected"),
    [
        ([], 0.0, 15, 0.5),
        (["-vf", "select='lt(n,30)+not(mod(n,3))'", "-fps_mode", "vfr"], 0.0, 35, 1.5),
        (["-vf", "select='gte(n,15)*not(between(n,20,40))'", "-fps_mode", "vfr"], 0.0, 5, 1.367),
        ([], 0.5, 15, 1.0),
    ],
    ids=["constant", "thinned", "gap", "late"],
)
def test_sound_is_cut_by_time(
    context: Context, tmp_path: Path, options: list[str], late: float, start: int, expected: float
) -> None:
    """It begins when the first driving frame is shown, and lasts as long as the frames did."""
    driver = tmp_path / "driver.mkv"
    run_ffmpeg(
        *("-itsoffset", late, "-f", "lavfi", "-i", "testsrc=size=64x64:rate=30:duration=2"),
        *("-f", "lavfi", "-i", "sine=duration=3", "-pix_fmt", "yuv420p", *options, driver),
    )
    unit = unit_of(context, copy_audio=True, start_frame=start, sample_stride=1)
    unit = dataclasses.replace(unit, sources={"video": str(driver)})
    track = _audio(unit, MuxParams.read(unit), 6, Compute())
    assert track is not None
    told = dict(itertools.pairwise(ffmpeg.output(track[0], "x").get_args()))
    assert float(told["-ss"]) == pytest.approx(expected, abs=0.035)
    assert float(told["-t"]) == pytest.approx(6 / facts_of(driver).fps)


def failure(worker: MuxWorker, unit: Unit) -> Reason:
    """The reason for which a unit cannot be computed; nothing may be left behind."""
    with pytest.raises(UnitError) as caught:
        compute(worker, unit)
    assert not list(worker._context.videos.glob("**/*.mp4"))
    return caught.value.reason


def test_unusable_latents(vae: TemporalAutoencoder, context: Context) -> None:
    """Not-finite latents, and a clip of the reference alone, have typed reasons."""
    worker = MuxWorker(VaeDecoder(vae), context)
    broken = np.zeros((3, 4, 8, 8), np.float32)
    broken[2, 0, 0, 0] = np.inf
    for latents, reason in ((broken, Reason.NUMERIC), (broken[:1], Reason.NO_FRAMES)):
        context.store.write("sample", SAMPLE_KEY, Latents(latents))
        assert failure(worker, unit_of(context)) is reason


class _Overflowing(VaeDecoder):
    """A decoder whose half precision overflows; `hopeless` in float32 too."""

    hopeless = False

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        frames = super()._decode(latents)
        return frames * float("inf") if self.hopeless or latents.dtype != torch.float32 else frames


def test_overflow_in_half_precision(
    vae: TemporalAutoencoder, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """A chunk that overflows is decoded in float32, which is said; then it is a typed failure."""
    caplog.set_level("INFO")
    decoder = _Overflowing(vae.to(torch.bfloat16))
    try:
        worker = MuxWorker(decoder, context)
        assert compute(worker, unit_of(context)).frames == 5
        assert sum("again in float32" in line for line in caplog.messages) == 2
        assert vae.quant_conv.weight.dtype == torch.bfloat16
        decoder.hopeless = True
        (context.videos / ".staging").rename(context.videos / "gone")
        (path,) = (context.videos / "gone").iterdir()
        path.unlink()
        assert failure(worker, unit_of(context)) is Reason.NUMERIC
    finally:
        vae.to(torch.float32)


def test_a_stop_is_obeyed(vae: TemporalAutoencoder, context: Context) -> None:
    """A job asked to stop leaves no half video."""
    context.stop_requested = lambda: True
    with pytest.raises(InterruptedUnitError):
        compute(MuxWorker(VaeDecoder(vae), context), unit_of(context))
    assert not list(context.videos.glob("**/*.mp4*"))


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_lack_of_memory_takes_the_decoder_down_its_ladder(
    vae: TemporalAutoencoder, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The same frames, up to rounding, with layers over space frame by frame, or on the host."""
    caplog.set_level("DEBUG")
    latents = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 4, 8, 8), np.float32))
    plenty = VaeDecoder(vae)(latents)
    left = [failures]

    def fail(*_: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("fake")

    handle = vae.decoder.register_forward_pre_hook(fail)
    tight = VaeDecoder(vae)(latents)
    handle.remove()
    rungs = ["chunk", "frame_by_frame", "host"]
    assert f"decoded on memory rung {rungs[failures]!r}" in caplog.messages
    torch.testing.assert_close(tight, plenty, rtol=1e-4, atol=1e-4)
    assert torch.equal(VaeDecoder(vae)(latents), plenty), "the ladder leaves no trace"
