from __future__ import annotations

import math
import weakref

import cv2
import numpy as np
import pytest

from dispose_stages.score import similarity, temporal
from dispose_stages.score.clip import DEFINITIONS, FramePair, clip_values, scan_clip

HEIGHT, WIDTH = 96, 64


def moving(frames=12, seed=0):
    """A texture that glides."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 12, 3), np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return [np.roll(image, 2 * index, axis=1) for index in range(frames)]


def pairs(result, truth):
    return [FramePair(r, t) for r, t in zip(result, truth, strict=True)]


def test_values_stand_at_their_frames():
    """In order, whichever thread computed them; a step's at its second frame."""
    truth = moving()
    result = [cv2.GaussianBlur(f, (0, 0), 1 + i / 10) for i, f in enumerate(truth)]
    for threads in (1, 3):
        values = scan_clip(pairs(result, truth), DEFINITIONS, threads=threads)
        wanted = [similarity.psnr(r, t) for r, t in zip(result, truth, strict=True)]
        assert values["psnr"].tolist() == wanted
        assert np.isnan(values["flicker"][0])
        assert values["flicker"][3] == temporal.flicker(result[2], result[3])
        excess = values["flicker"][3] - temporal.flicker(truth[2], truth[3])
        assert values["flicker_excess"][3] == excess


def test_without_truth_nothing_claims_to_be_compared():
    """Measures of the result alone."""
    values = scan_clip([FramePair(frame) for frame in moving()], DEFINITIONS)
    assert {"flicker", "warping_error", "red", "sharpness"} <= set(values)
    assert not [name for name in values if "psnr" in name or "true" in name or "excess" in name]


def test_definitions_are_chosen():
    """One of them does not compute the others."""
    frames = pairs(moving(), moving(seed=1))
    assert "psnr" in scan_clip(frames, ["correct"])
    assert "ssim_disco" not in scan_clip(frames, ["correct"])
    assert {n for n in scan_clip(frames, ["disco_uint8"]) if "psnr" in n} == {"psnr_disco_uint8"}


def test_a_clip_without_steps_or_borders_has_no_such_value():
    """One frame, one tile: nan, not zero."""
    values = clip_values(scan_clip([FramePair(moving()[0])], ["correct"]), np.zeros(0, dtype=bool))
    for name in ("flicker", "warping_error", "seam_flicker", "drift_red", "drift_colour"):
        assert math.isnan(values[name])
    whole = clip_values(
        scan_clip([FramePair(f) for f in moving()], ["correct"]), np.zeros(11, dtype=bool)
    )
    assert math.isnan(whole["seam_flicker"])
    assert whole["flicker"] > 0


def test_drift_is_that_of_the_difference_to_the_truth():
    """A scene that grows brighter by itself does not drift; a result that does, does."""
    rising = [np.full((HEIGHT, WIDTH, 3), 50 + 3 * i, np.uint8) for i in range(30)]
    still = [np.full((HEIGHT, WIDTH, 3), 50, np.uint8) for _ in range(30)]
    borders = np.zeros(29, dtype=bool)
    same = clip_values(scan_clip(pairs(rising, rising), ["correct"]), borders)
    drifting = clip_values(scan_clip(pairs(rising, still), ["correct"]), borders)
    assert same["drift_colour"] == pytest.approx(0, abs=1e-12)
    assert drifting["drift_red"] == pytest.approx(300 / 255)
    assert drifting["drift_red_low"] <= drifting["drift_red"] <= drifting["drift_red_high"]
    assert drifting["drift_colour"] == pytest.approx(math.sqrt(3) * 300 / 255)


def test_memory_does_not_grow_with_the_clip():
    """Of 10,000 frames as many are held at a time as of 500; what is kept are numbers."""

    def scanned(count):
        alive, most = 0, 0

        def gone():
            nonlocal alive
            alive -= 1

        def stream():
            nonlocal alive, most
            for index in range(count):
                frame = np.full((16, 16, 3), index % 200, np.uint8)
                weakref.finalize(frame, gone)
                alive += 1
                most = max(most, alive)
                yield FramePair(frame, frame)

        values = scan_clip(stream(), ["correct"], threads=2)
        assert {len(series) for series in values.values()} == {count}
        return most, sum(series.nbytes for series in values.values())

    few, many = scanned(500), scanned(10_000)
    assert max(few[0], many[0]) <= 12, "those in work, those waiting, the one before each"
    assert many[1] < 10_000 * 200
