"""Measure the sampler on this machine's card: ``python -m tests.bench.gpu [--json FILE]``.

Original, ours eager and ours in full run side by side in one process, with the same random weights
at full width; ratios of one run are what counts. ``--toy`` runs the same at a width for a CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tests.bench.gpu import parts
from tests.bench.traffic.steps import FULL, SMALL

PARTS = ("matmul", "step", "ablation", "kernels", "clip")


def machine(device: torch.device) -> dict[str, str]:
    """Card, driver and versions."""
    card = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    versions = {
        name: getattr(import_module(name), "__version__", "")
        for name in ("torch", "triton")
        if find_spec(name)
    }
    return {
        "device": device.type,
        "card": card,
        "driver": _driver(),
        "cuda": torch.version.cuda or "none",
        "python": platform.python_version(),
        **versions,
    }


def _driver() -> str:
    """As the driver's own tool says it; empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def measure(chosen: list[str], *, toy: bool) -> dict[str, Any]:
    """All chosen parts."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    size = SMALL if toy else FULL
    report: dict[str, Any] = {"machine": machine(device), "size": repr(size)}
    if "matmul" in chosen:
        report["matmul_tflops"] = parts.matmul_rate(device, dtype, 256 if toy else 8192) / 1e12
    if "step" in chosen:
        steps = parts.step_times(
            size, device, dtype, repeats=3 if toy else 5, ablations="ablation" in chosen
        )
        report["step"] = dict(steps)
    if "kernels" in chosen:
        report["kernels"], report["idle_share"] = parts.kernels(size, device, dtype)
    if "clip" in chosen:
        report["clip_seconds"] = parts.clip_seconds(
            size, device, dtype, tiles=2 if toy else 7, steps=25
        )
    return report


def show(report: dict[str, Any]) -> None:
    """Print tables."""
    print(report["machine"], report["size"], sep="\n")
    if "matmul_tflops" in report:
        print(f"matmul: {report['matmul_tflops']:.1f} TFLOP/s")
    row = "{:26}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}"
    if "step" in report:
        print(row.format("tile-step", "ms", "ratio", "TFLOP/s", "GB/s", "peak GB", "PSNR dB"))
        first = report["step"]["original"]["ms"]
        for name, values in report["step"].items():
            ratio = first / values["ms"]
            figures = (values[k] for k in ("tflops", "gb_per_s", "peak_gb", "psnr_db"))
            print(
                row.format(
                    name, f"{values['ms']:.1f}", f"{ratio:.2f}", *(f"{v:.1f}" for v in figures)
                )
            )
    for name, value in report.get("clip_seconds", {}).items():
        print(f"clip, {name}: {value:.1f} s")
    if "kernels" in report:
        print(f"idle: {100 * report['idle_share']:.1f} %", report["kernels"], sep="\n")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--toy", action="store_true", help="at a width for a CPU")
    options = parser.parse_args(arguments)
    if not options.toy and not torch.cuda.is_available():
        parser.error("there is no GPU here; --toy runs at a width for a CPU")
    report = measure(options.parts, toy=options.toy)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
