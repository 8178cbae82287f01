"""A clip in one pass: every measure that needs no network, frame by frame.

Frames are taken as they are decoded, two threads work on a few of them at a time, and only numbers
are kept: memory does not grow with the clip but for 200 bytes a frame.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.score import disco, drift, similarity, temporal
from dispose_stages.score.similarity import Mask, Pixels

Definition = str
DEFINITIONS = ("correct", "disco", "disco_uint8")
"""Of L1, PSNR and SSIM: the published ones, those of DisCo's evaluator, its PSNR before repair."""
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class FramePair:
    """A frame of the result and the true one it is compared with.

    Attributes:
        result: RGB.
        truth: RGB of the same size; None where there is no truth.
        mask: Where the truth is defined; None: everywhere.
    """

    result: Pixels
    truth: Pixels | None = None
    mask: Mask | None = None


FrameValues = Mapping[str, Float64[np.ndarray, "f"]]
"""Values of every frame by measure; nan where a measure has none."""


def scan_clip(
    frames: Iterable[FramePair], definitions: Sequence[Definition], *, threads: int = 2
) -> FrameValues:
    """Measures of every frame.

    Args:
        frames: In order; all with a truth, or none.
        definitions: Of `DEFINITIONS`, for what is compared with the truth.
        threads: That compute; the caller's decodes.

    Returns:
        Measures by name; those of a step (``flicker``, ``warping_error``) stand at its second
        frame and are nan at the first.
    """

    def measure(before: FramePair | None, now: FramePair) -> dict[str, float]:
        return {**_still(now, definitions), **_step(before, now)}

    rows = list(_in_order(measure, _with_previous(frames), threads))
    names = list(rows[0]) if rows else []
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}


def _with_previous(
    frames: Iterable[FramePair],
) -> Iterator[tuple[FramePair | None, FramePair]]:
    before = None
    for frame in frames:
        yield before, frame
        before = frame


def _in_order(
    measure: Callable[[FramePair | None, FramePair], dict[str, float]],
    steps: Iterable[tuple[FramePair | None, FramePair]],
    threads: int,
) -> Iterator[dict[str, float]]:
    """Results in the order of the frames, a bounded number of frames under way."""
    waiting: deque[Future[dict[str, float]]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for before, now in steps:
            waiting.append(pool.submit(measure, before, now))
            if len(waiting) >= threads + _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _still(frame: FramePair, definitions: Sequence[Definition]) -> dict[str, float]:
    """What one frame shows."""
    values = drift.appearance(frame.result)
    result, truth, mask = frame.result, frame.truth, frame.mask
    if truth is None:
        return values
    values |= {f"true_{name}": value for name, value in drift.appearance(truth).items()}
    if "correct" in definitions:
        values["l1"] = similarity.l1(result, truth, mask)
        values["psnr"] = similarity.psnr(result, truth, mask)
        ssim, ms_ssim = similarity.structural_similarity(result, truth, mask)
        values |= {"ssim": ssim, "ms_ssim": ms_ssim}
    if "disco" in definitions:
        values["l1_disco"] = disco.l1(result, truth)
        values["psnr_disco"] = disco.psnr(result, truth)
        values["ssim_disco"] = disco.ssim(result, truth)
    if "disco_uint8" in definitions:
        values["psnr_disco_uint8"] = disco.psnr_wrapped(result, truth)
    return values


def _step(before: FramePair | None, now: FramePair) -> dict[str, float]:
    """What changed since the frame before."""
    values = dict.fromkeys(("flicker", "warping_error"), math.nan)
    if now.truth is not None:
        values |= dict.fromkeys(("true_flicker", "flicker_excess"), math.nan)
    if before is None:
        return values
    values["flicker"] = temporal.flicker(before.result, now.result)
    values["warping_error"] = temporal.warping_error(before.result, now.result)
    if before.truth is not None and now.truth is not None:
        values["true_flicker"] = temporal.flicker(before.truth, now.truth)
        values["flicker_excess"] = values["flicker"] - values["true_flicker"]
    return values


def clip_values(frames: FrameValues, borders: Bool[np.ndarray, "f_minus_1"]) -> dict[str, float]:
    """One value per measure of the whole clip; nan where it has none.

    Means over frames of what is measured per frame, the excess at the borders of tiles
    (``seam_*``) and slopes per 100 frames with their intervals (``drift_*``). With a truth, drift
    is that of the difference to it, so that a scene that changes does not count.

    Args:
        frames: Of `scan_clip`.
        borders: Whether each step crosses a border of tiles.
    """
    ignored = {*drift.STATISTICS, *(f"true_{name}" for name in drift.STATISTICS)}
    values = {name: _finite_mean(series) for name, series in frames.items() if name not in ignored}
    for name in ("flicker", "warping_error"):
        values[f"seam_{name}"] = temporal.seam(frames[name][1:], borders).excess
    for name in drift.STATISTICS:
        true = frames.get(f"true_{name}")
        slope = drift.slope(frames[name] if true is None else frames[name] - true)
        values[f"drift_{name}"] = slope.value
        values[f"drift_{name}_low"], values[f"drift_{name}_high"] = slope.low, slope.high
    colours = [values[f"drift_{name}"] for name in ("red", "green", "blue")]
    values["drift_colour"] = math.sqrt(sum(value**2 for value in colours))
    return values


def _finite_mean(series: Float64[np.ndarray, "f"]) -> float:
    finite = series[np.isfinite(series)]
    return float(finite.mean()) if finite.size else math.nan
