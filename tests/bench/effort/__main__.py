"""What shortcuts cost and save: ``python -m tests.bench.effort [--write docs]``.

Clips of the shipped bundle that no training has seen, sampled in every variant, against 25 full
steps; costs are counted on the full-width networks. Some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dispose_stages.benchmark.document import replace_part
from dispose_stages.config import load_config
from dispose_stages.config_sampling import EFFORTS
from dispose_stages.sample.schedule import noise_levels
from dispose_stages.sample.shortcuts import step_kinds
from dispose_stages.training.animate import Animator
from dispose_stages.training.quality import held_out_pairs
from dispose_stages.weights.digests import DigestCache, digest_stages
from tests.bench.effort.costs import clip_cost
from tests.bench.effort.picture import Point, plot
from tests.bench.effort.quality import REFERENCE, Changes, measure, parameters
from tests.bench.size import size

PAIRS = size(4, 1)
FRAMES = 9
"""Of a driver; two tiles of the small bundle."""
TWO = {"solver": "dpmpp_2m"}
LOW, HIGH, MIDDLE = (0.0, 20.0), (0.1, 1e4), (0.1, 20.0)


def variants() -> dict[str, Changes]:
    """Every knob alone, several together, and the named points."""
    found: dict[str, Changes] = {"exact": REFERENCE}
    for steps in (8, 6):
        found[f"euler, {steps} steps"] = {"num_inference_steps": steps}
    for steps in (12, 8, 6, 4):
        found[f"dpmpp_2m, {steps} steps"] = TWO | {"num_inference_steps": steps}
    for lowest, highest in (LOW, HIGH, MIDDLE):
        name = f"guidance in {lowest:g} to {highest:g}"
        found[name] = REFERENCE | {"guidance_interval": (lowest, highest)}
    for interval in (2, 3):
        found[f"cache {interval}"] = REFERENCE | {"cache_interval": interval}
    found["dpmpp_2m, 12 steps, cache 2"] = TWO | {"num_inference_steps": 12, "cache_interval": 2}
    found["dpmpp_2m, 12 steps, guidance in 0.1 to 20"] = TWO | {
        "num_inference_steps": 12,
        "guidance_interval": MIDDLE,
    }
    return found


def named() -> dict[str, Changes]:
    """The points that have a name, with the published models' number of steps."""
    points = {}
    for effort, own in EFFORTS.items():
        settled = load_config({"models": "official", "sampling": {"effort": effort}})
        steps = settled.parameters.num_inference_steps
        points[effort] = {"num_inference_steps": steps, **own}
    return points


def rows(pairs: int, frames: int) -> tuple[dict[str, dict[str, float]], str]:
    """Measures and costs by variant, and the digest of the networks they belong to."""
    config = load_config({"compute": {"device": "cpu"}})
    animator = Animator(config)
    chosen = variants() | named()
    held_out = held_out_pairs(animator, pairs, cross=False, frames=frames)
    measured = measure(animator, held_out, chosen)
    whole = clip_cost(_kinds(animator, REFERENCE))
    for name, changes in chosen.items():
        cost = clip_cost(_kinds(animator, changes))
        share = {"FLOPs": cost.flop / whole.flop, "ideal time": cost.seconds / whole.seconds}
        measured[name] = share | measured[name]
    with tempfile.TemporaryDirectory() as folder:
        cache = DigestCache(Path(folder) / "digests.json")
        digest = digest_stages(config.models.folder, ["sample"], cache)["sample"]
    return measured, digest[:12]


def _kinds(animator: Animator, changes: Changes) -> Any:
    params = parameters(animator, changes)
    levels = noise_levels(params.num_inference_steps, *animator._sample._networks.noise_range)
    return step_kinds(levels, params)


def table(measured: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown."""
    names = list(measured["exact"])
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for variant, values in measured.items():
        cells = [_cell(name, value) for name, value in values.items()]
        title = f"**{variant}**" if variant in {"exact", *EFFORTS} else variant
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(name: str, value: float) -> str:
    if name.endswith("dB"):
        return "equal" if value >= 100 else f"{value:.1f}"
    return f"{100 * value:.0f} %" if name in {"FLOPs", "ideal time"} else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.effort", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a driver")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--write", type=Path, help="folder of performance.md and its picture")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    measured, digest = rows(options.pairs, options.frames)
    sample = f"{options.pairs} held-out pairs of {options.frames} driving frames"
    text = table(measured) + f"\nMeans over {sample}; networks of `sample`: {digest}.\n"
    print(text)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")
    if options.write:
        text += "\n![Cost against nearness to 25 full steps](effort.svg)\n"
        document = options.write / "performance.md"
        replace_part(document, "effort", text)
        points = [
            Point(name, values["FLOPs"], values["frames dB"], named=name in {"exact", *EFFORTS})
            for name, values in measured.items()
            if values["frames dB"] < 100
        ]
        (options.write / "effort.svg").write_text(plot(points))


if __name__ == "__main__":
    main()
