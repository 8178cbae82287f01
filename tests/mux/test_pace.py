"""A metronome as driver: what is shown for a second stays a second with ``fps: driver``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.batch.unit import Result
from dispose_stages.geometry.frames import frames_by_time, paced_rate, sampled_frames
from dispose_stages.mux.sound import driver_stretch
from dispose_stages.mux.stage import _made_rate
from dispose_stages.mux.unit import MuxParams
from tests.mux.test_mux_stage import context, run, unit_of, vae  # noqa: F401 - fixtures

SECONDS = 12
RATES = (24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0)


def beats(indices: list[int], times: np.ndarray) -> np.ndarray:
    """Of which second each frame read shows the tick."""
    return np.floor(times[indices] + 1e-9).astype(int)


def durations(indices: list[int], times: np.ndarray, rate: float) -> np.ndarray:
    """How long every whole second of the driver is in the output."""
    return np.bincount(beats(indices, times))[1 : SECONDS - 1] / rate


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("fps", RATES)
def test_every_beat_lasts_as_long(fps: float, stride: int) -> None:
    """Equal durations, up to the one frame that falls on either side of a beat."""
    times = np.arange(round(SECONDS * fps)) / fps
    rate = paced_rate(fps, stride)
    read = sampled_frames(len(times), fps, stride)
    assert np.abs(durations(read, times, rate) - 1.0).max() <= 1.0 / rate + 1e-9
    assert len(read) / rate == pytest.approx(SECONDS, abs=1.0 / rate)


@pytest.mark.parametrize("seed", range(4))
def test_a_varying_rate_keeps_the_beat(seed: int) -> None:
    """Frames of a screen recording or a phone, from 8 to 60 a second."""
    gaps = 1 / np.random.default_rng(seed).uniform(8, 60, 2000)
    times = np.cumsum(gaps) - gaps[0]
    times = times[times < SECONDS]
    fps = len(times) / SECONDS
    read = frames_by_time(times, fps, 2)
    rate = paced_rate(fps, 2)
    # A frame that is shown long is read a little off its tick, by half of the longest gap at most.
    slack = 1.0 / rate + 0.5 / 8
    assert np.abs(durations(read, times, rate) - 1.0).max() <= slack
    assert len(read) / rate == pytest.approx(SECONDS, abs=2.0 / rate)


def test_the_default_plays_faster() -> None:
    """What `driver` is for: at 15 fps a driver of 24 plays 1.25 times as fast."""
    assert 15 / paced_rate(24.0, 2) == pytest.approx(1.25)
    assert 15 / paced_rate(25.0, 2) == pytest.approx(1.2)
    assert 15 / paced_rate(50.0, 2) == pytest.approx(1.2)
    assert 15 / paced_rate(30.0, 2) == pytest.approx(1.0)


@pytest.mark.parametrize("fps", RATES)
def test_the_file_has_the_drivers_rate(vae, context, fps: float) -> None:  # noqa: F811
    """Through the stage: the delivered video plays at the driver's rate over the stride."""
    unit = unit_of(context, fps="driver")
    unit = replace(unit, inputs={**unit.inputs, "media": Result(key="2b" * 32, facts={"fps": fps})})
    unit = replace(unit, upstream={**unit.upstream, "media": ("ingest", "2b" * 10)})
    path = run(vae, context, unit)
    assert isinstance(path, Path)
    from dispose_stages.store.video import VideoReader

    with VideoReader(path) as video:
        assert video.fps == pytest.approx(paced_rate(fps, 2), rel=1e-4)
        assert video.frame_count == 5


def test_a_number_reads_no_driver() -> None:
    """The parameter as it always was: no media, the same plain value."""
    params = MuxParams.model_construct(fps=15.0)
    assert _made_rate(None, params) == 15.0  # type: ignore[arg-type]


def test_stretch_of_the_driver() -> None:
    """A driver read at stride two and shown at half its rate keeps its tempo; else it changes."""
    assert driver_stretch(30, 15.0, driver_fps=30.0, stride=2) == (2.0, 1.0)
    assert driver_stretch(30, 30.0, driver_fps=30.0, stride=2) == (2.0, 2.0)
