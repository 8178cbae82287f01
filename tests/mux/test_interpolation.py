"""``interpolate: minterpolate``: the driver's pace at a rate of one's own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dispose_stages.batch.unit import Result
from dispose_stages.config import Parameters
from dispose_stages.config_encoding import Encoding
from dispose_stages.geometry.frames import own_frames, paced_rate
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter
from tests.mux.test_mux_stage import context, run, unit_of, vae  # noqa: F401 - fixtures
from tests.mux.test_pace import RATES

SIZE = 64, 96


def moving(frames: int) -> list[np.ndarray]:
    """A texture that moves on by six pixels a frame."""
    coarse = np.random.default_rng(0).integers(30, 220, (8, 12, 3), dtype=np.uint8)
    image = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return [np.roll(image, 6 * frame, axis=1) for frame in range(frames)]


def written(path, frames, made, *resampled):
    encoding = Encoding(crf=1, pixel_format="yuv444p")
    with VideoWriter(path, SIZE, made, encoding, resampled=resampled, threads=1) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(path) as video:
        shown = [frame.astype(int) for _, frame in video.frames(range(video.frame_count))]
        return shown, video.fps


@pytest.mark.parametrize("made", sorted({paced_rate(fps, 2) for fps in RATES}))
@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 60.0])
def test_every_beat_lasts_as_long(tmp_path, made: float, fps: float) -> None:
    """A metronome whose picture changes once a second: each second has its share of frames."""
    seconds = 3
    frames = round(seconds * made)
    ticks = np.floor(np.arange(frames) / made + 1e-9).astype(int)
    levels = [np.full((*SIZE, 3), 40 + 70 * tick, np.uint8) for tick in ticks]
    count = round(frames * fps / made)
    shown, rate = written(tmp_path / "x.mp4", levels, made, fps, count)
    assert len(shown) == count
    assert rate == pytest.approx(fps, rel=1e-3)
    beats = [int(np.rint((frame.mean() - 40) / 70)) for frame in shown]
    lengths = np.bincount(beats, minlength=seconds) / fps
    # A step between two of its frames is somewhere between them in the file.
    assert np.abs(lengths - 1.0).max() <= 1.0 / made + 1.0 / fps + 1e-9


@pytest.mark.parametrize(("made", "fps"), [(12.0, 24.0), (12.0, 60.0), (12.5, 25.0), (15.0, 15.0)])
def test_frames_that_were_made_are_in_the_file(tmp_path, made: float, fps: float) -> None:
    """Where `own_frames` says, up to the codec; what is between them lies between them."""
    frames = moving(9)
    shown, _ = written(tmp_path / "x.mp4", frames, made, fps, round(len(frames) * fps / made))
    places = own_frames(len(frames), made, fps)
    assert places is not None
    for place, frame in zip(places, frames, strict=True):
        assert np.abs(shown[place] - frame).mean() < 3
    for place in places[1:-1]:
        if fps > made:
            between = shown[place + 1]
            assert min(np.abs(between - frame).mean() for frame in frames) > 3


def test_a_rate_between_loses_them() -> None:
    """Only a whole multiple has a place for each."""
    assert own_frames(4, 12.0, 15.0) is None
    assert own_frames(4, 24.0, 12.0) is None
    assert own_frames(4, 12.0, 36.0) == [0, 3, 6, 9]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips(tmp_path, count: int) -> None:
    """A clip of one frame is interpolated to nothing but itself."""
    shown, _ = written(tmp_path / "x.mp4", moving(count), 12.0, 24.0, 2 * count)
    assert len(shown) == 2 * count


def test_the_same_bytes_each_time(tmp_path) -> None:
    """The filter has no chance in it."""
    for name in ("a.mp4", "b.mp4"):
        written(tmp_path / name, moving(6), 12.0, 30.0, 15)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_through_the_stage(vae, context) -> None:  # noqa: F811
    """Twice as many frames at the driver's pace; sidecar and file say what was made."""
    unit = unit_of(context, fps=24.0, interpolate="minterpolate")
    media = Result(key="2b" * 32, facts={"fps": 24.0})
    unit = replace(unit, inputs={**unit.inputs, "media": media})
    unit = replace(unit, upstream={**unit.upstream, "media": ("ingest", "2b" * 10)})
    path = run(vae, context, unit)
    with VideoReader(path) as video:
        assert (video.frame_count, video.fps) == (10, pytest.approx(24.0))
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert (sidecar["frames"], sidecar["fps"], sidecar["made_fps"]) == (10, 24.0, 12.0)
    assert sidecar["metadata"]["interpolated"] == "minterpolate"
    assert sidecar["metadata"]["made_fps"] == "12"


def test_the_default_is_as_it_was() -> None:
    """No row that does not ask for it has another parameter."""
    assert Parameters().interpolate == "none"
    assert Parameters.model_validate({"fps": 30, "interpolate": "minterpolate"}).fps == 30
    with pytest.raises(ValueError, match="needs a number as fps"):
        Parameters.model_validate({"fps": "driver", "interpolate": "minterpolate"})
