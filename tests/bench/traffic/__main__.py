"""Count one tile-step at full width: ``python -m tests.bench.traffic [--json FILE] [--kernels N]``.

No GPU is needed and nothing is measured: FLOPs, bytes, kernels and host synchronisations follow
from the operations and the rules of `tests.bench.traffic.tracer` and `fusion`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.bench.traffic.fusion import fused
from tests.bench.traffic.steps import FULL, SWITCHES, count, count_around, held_bytes
from tests.bench.traffic.tracer import Trace

PEAKS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
"""Dense half-precision FLOP/s and bytes/s of the data sheets."""
_ROW = "{:28}{:>9}{:>9}{:>7}{:>9}{:>7}{:>7}{:>10}{:>10}"


def traces() -> dict[str, Trace]:
    """All variants that are counted; fused by rule where one change is switched off."""
    ours = count(FULL)
    counted = {
        "original under autocast": count(FULL, original=True),
        "ours, eager": ours,
        "ours, fused by rule": fused(ours),
    }
    return counted | {f"no {name}": fused(count(FULL, off=name)) for name in SWITCHES}


def ideal_seconds(trace: Trace, card: str) -> float:
    """Every kernel at the card's peak rate or bandwidth, whichever takes longer."""
    rate, bandwidth = PEAKS[card]
    return sum(max(kernel.flops / rate, kernel.bytes / bandwidth) for kernel in trace.kernels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, help="write exact totals there")
    parser.add_argument("--kernels", type=int, default=0, help="list the N largest kinds of kernel")
    options = parser.parse_args()
    counted = traces()
    names = ("TFLOP", "GB", "+ att.", "kernels", "casts", "syncs", *(f"{c} ms" for c in PEAKS))
    print(_ROW.format("", *names))
    for name, trace in counted.items():
        totals = trace.totals()
        ideal = (f"{1e3 * ideal_seconds(trace, card):.0f}" for card in PEAKS)
        print(
            _ROW.format(
                name,
                f"{totals['flop'] / 1e12:.1f}",
                f"{totals['bytes'] / 1e9:.0f}",
                f"{totals['attention_bytes'] / 1e9:.0f}",
                totals["kernels"],
                totals["casts"],
                totals["host_syncs"],
                *ideal,
            )
        )
        rows = 0 if name.startswith("no ") else options.kernels
        for kernel, launches, size in trace.by_name()[:rows]:
            print(f"    {size:8.1f} GB {launches:6}  {kernel[:70]}")
    around = count_around(FULL, 73).totals()
    print(
        f"beside the networks, per step of 73 frames: {around['bytes'] / 1e9:.2f} GB in "
        f"{around['kernels']} kernels"
    )
    held = held_bytes(FULL)
    print(f"held at once by ours, eager, beside weights and conditions: {held / 1e9:.2f} GB")
    if options.json:
        report: dict[str, Any] = {name: trace.totals() for name, trace in counted.items()}
        report |= {"held_bytes": held, "beside the networks": around}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
