"""What `python -m tests.bench.gpu` measures; everything runs on a CPU too, at toy width."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.compilation import Compilation
from dispose_stages.sample.recording import Recorder, cuda_graph
from tests.bench.traffic.steps import SWITCHES, Size, TileStep, count, without

Step = Callable[[], Tensor]


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a large product, the best of a few."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    (a @ b).sum()
    best = min(seconds(lambda: a @ b, device) for _ in range(5))
    return 2 * side**3 / best


def psnr(actual: Tensor, expected: Tensor) -> float:
    """Decibels, against the largest value of `expected`."""
    error = (actual.double() - expected.double()).square().mean()
    return (
        float(10 * torch.log10(expected.double().abs().max() ** 2 / error)) if error else math.inf
    )


@contextmanager
def _conditions(variant: str, device: torch.device) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if variant == "original" and device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", torch.float16))
        stack.enter_context(without(variant.removeprefix("no ")))
        if variant != "original":
            # As the stage does, but for the variant that lets cuDNN choose by time.
            stack.enter_context(full_float32())
            torch.backends.cudnn.benchmark = variant == "cuDNN's choice by time"
        yield


@cache
def _prepared(variant: str, size: Size, device: torch.device, dtype: torch.dtype) -> Step:
    tile = TileStep(size, device, dtype)
    if variant == "original":
        return tile.original()
    step = tile.ours(
        last=variant != "no channels last",
        packed=variant != "no packed projections",
        compat="corrected",
    )
    if variant == "ours, eager":
        return step
    # On a CPU the tracing alone takes longest; once is enough to see that it works.
    if variant == "ours, full" or (device.type == "cuda" and variant != "no compile"):
        Compilation("inductor" if device.type == "cuda" else "eager").add(
            [tile.unet, tile.control_net]
        )
    if variant != "no graph" and device.type == "cuda":
        recorder = Recorder(cuda_graph)
        return lambda: recorder("step", lambda: (step(),))[0]
    return step


VARIANTS = ("original", "ours, eager", "ours, full")
ABLATIONS = (
    *(f"no {switch}" for switch in SWITCHES),
    "no channels last",
    "no compile",
    "no graph",
    "cuDNN's choice by time",
)
"""The full way with one change switched off, or, the last, with what it does without."""


@cache
def _totals(size: Size, original: bool, off: str) -> dict[str, int]:
    return count(size, original=original, off=off).totals()


def _counts(size: Size, variant: str) -> dict[str, int]:
    """What a variant moves and computes, by the tracer's rules, before any compiler."""
    switch = variant.removeprefix("no ")
    return _totals(size, variant == "original", switch if switch in SWITCHES else "")


def step_times(
    size: Size, device: torch.device, dtype: torch.dtype, *, repeats: int, ablations: bool
) -> Iterator[tuple[str, dict[str, float]]]:
    """Every variant of a tile-step, interleaved, beside a float32 reference.

    Yields:
        Name; milliseconds (median), TFLOP/s, GB/s by the counts, peak memory and PSNR.
    """
    names = VARIANTS + (ABLATIONS if ablations else ())
    with _conditions("reference", device):
        reference = _prepared("ours, eager", size, device, torch.float32)().cpu()
    steps: dict[str, Step] = {}
    outputs, peaks = {}, {}
    for name in names:
        with _conditions(name, device):
            if device.type == "cuda":
                torch.cuda.empty_cache()
            held = torch.cuda.memory_allocated() if device.type == "cuda" else 0
            steps[name] = _prepared(name, size, device, dtype)
            steps[name]()  # compiles and tunes; the next call records
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            outputs[name] = steps[name]().cpu()
            peaks[name] = torch.cuda.max_memory_allocated() - held if device.type == "cuda" else 0
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, step in steps.items():
            with _conditions(name, device):
                times[name].append(seconds(step, device))
    for name in names:
        counted = _counts(size, name)
        median = sorted(times[name])[repeats // 2]
        moved = counted["bytes"] + counted["attention_bytes"]
        yield (
            name,
            {
                "ms": 1e3 * median,
                "tflops": counted["flop"] / median / 1e12,
                "gb_per_s": moved / median / 1e9,
                "peak_gb": peaks[name] / 1e9,
                "psnr_db": psnr(outputs[name], reference),
            },
        )


def kernels(
    size: Size, device: torch.device, dtype: torch.dtype, rows: int = 20
) -> tuple[str, float]:
    """The largest kernels of a full step, and the share of the step in which the device idled."""
    from torch.profiler import ProfilerActivity, profile

    with _conditions("ours, full", device):
        step = _prepared("ours, full", size, device, dtype)
        step()
        kind = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
        with profile(activities=[kind]) as profiler:
            total = seconds(step, device)
    events: Any = profiler.key_averages()
    column = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    busy = sum(getattr(event, column) for event in events) / 1e6
    return str(events.table(sort_by=column, row_limit=rows)), max(0.0, 1 - busy / total)


def clip_seconds(
    size: Size, device: torch.device, dtype: torch.dtype, *, tiles: int, steps: int
) -> Mapping[str, float]:
    """Denoising of a clip, one step timed and multiplied where it repeats, per variant."""
    result = {}
    for name in VARIANTS:
        with _conditions(name, device):
            step = _prepared(name, size, device, dtype)
            step()
            result[name] = sum(seconds(step, device) for _ in range(tiles)) * steps
    return result
