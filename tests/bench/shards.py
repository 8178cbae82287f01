"""Jobs of a long-tailed manifest of 10,000 pairs: of equal number of clips, and of equal cost.

``python -m tests.bench.shards``. Nothing runs: the plans are real, what a clip takes is computed
from its frames and the assumptions below, and drawn 15 % apart from what the priors say. GPUs take
jobs in the order of their names; a job that reaches its time limit ends in order and its shard is
submitted again, with the networks loaded once more.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.plan import Plan, build_plan
from dispose_stages.batch.priors import Priors, work
from dispose_stages.config import Parameters, load_config

IMAGES, VIDEOS = 25, 400
FPS = 30.0
MEDIAN_SECONDS, SIGMA, SHORTEST, LONGEST = 6.0, 1.0, 1.0, 180.0
"""Of the drivers: log-normal, cut off."""
TILE_STEP_SECONDS = 0.5
"""Assumed for one tile of 16 frames at 576 x 1024 with guidance."""
LOAD_SECONDS, LIMIT_SECONDS, MARGIN_SECONDS = 60.0, 7200.0, 120.0
GPUS = 64
NOISE = 0.15


def drivers(images: int, videos: int) -> tuple[list[Row], Mapping[str, tuple[int, float]]]:
    """Rows of all pairs, and frames and rate of every driver."""
    draw = np.random.default_rng(0)
    seconds = MEDIAN_SECONDS * np.exp(SIGMA * draw.standard_normal(videos))
    frames = np.clip(seconds, SHORTEST, LONGEST) * FPS
    known = {f"/m/{v}.mp4": (int(count), FPS) for v, count in enumerate(frames)}
    parameters = Parameters()
    rows = [
        Row(2, f"{i}_{v}", f"/m/{i}.png", f"/m/{v}.mp4", parameters)
        for i in range(images)
        for v in range(videos)
    ]
    return rows, known


@dataclass(frozen=True)
class Outcome:
    """What a stage's jobs came to.

    Attributes:
        minutes: Of computing, per shard.
        jobs: Loads of the networks.
        loading: GPU hours that took.
        idle: GPU hours between a GPU's last job and the end of the stage.
        hours: From the first job to the last.
    """

    minutes: np.ndarray
    jobs: int
    loading: float
    idle: float
    hours: float

    def line(self, name: str) -> str:
        """As a row of a table."""
        low, middle, high = np.percentile(self.minutes, [5, 50, 95])
        spread = f"{low:.0f} / {middle:.0f} / {high:.0f} / {self.minutes.max():.0f}"
        again = self.jobs - len(self.minutes)
        return (
            f"| {name} | {len(self.minutes)} | {spread} | {self.minutes.std():.0f} | {again} | "
            f"{self.jobs} | {self.loading:.1f} + {self.idle:.1f} | {self.hours:.1f} |"
        )


def outcome(plan: Plan, seconds: Mapping[str, float]) -> Outcome:
    """Of the stage ``sample``, on `GPUS` cards."""
    shards = plan.shards("sample")
    computing = [sum(seconds[u.id] for u in units) for _, units in sorted(shards.items())]
    usable = LIMIT_SECONDS - MARGIN_SECONDS - LOAD_SECONDS
    attempts = [math.ceil(each / usable) for each in computing]
    free = [0.0] * min(GPUS, len(computing))
    for each, count in zip(computing, attempts, strict=True):
        heapq.heappush(free, heapq.heappop(free) + each + count * LOAD_SECONDS)
    end = max(free)
    return Outcome(
        minutes=np.array(computing) / 60,
        jobs=sum(attempts),
        loading=sum(attempts) * LOAD_SECONDS / 3600,
        idle=sum(end - each for each in free) / 3600,
        hours=end / 3600,
    )


def main(images: int = IMAGES, videos: int = VIDEOS) -> None:
    """Print the table."""
    rows, known = drivers(images, videos)
    per_work = TILE_STEP_SECONDS / work(rows[0], "sample", {}, 15.0) * 25  # a tile has 25 steps
    priors = Priors({"sample": per_work}, "assumed", known, 1.0)
    plain = load_config({})
    manifest = Manifest(tuple(rows), ())
    equal = build_plan(plain, manifest)
    expected = {row.units["sample"]: priors.cost(row, "sample") or 0.0 for row in equal.rows}
    noise = np.exp(NOISE * np.random.default_rng(1).standard_normal(len(expected)))
    seconds = {u: cost * n for (u, cost), n in zip(expected.items(), noise, strict=True)}
    mean = sum(seconds.values()) / len(seconds)
    told = load_config({"shards": {"seconds_per_unit": {"sample": mean}}})
    plans = {
        "equal number, 90 s a clip assumed": equal,
        f"equal number, the true mean of {mean:.0f} s told": build_plan(told, manifest),
        "equal cost": build_plan(plain, manifest, priors=priors),
    }
    longest = max(seconds.values()) / 60
    frames = [count for count, _ in known.values()]
    lines = [
        f"{len(rows):,} pairs, drivers of {min(frames) / FPS:.0f} to {max(frames) / FPS:.0f} s, "
        f"{sum(seconds.values()) / 3600:.0f} GPU hours of computing, "
        f"longest clip {longest:.0f} min",
        "| jobs | shards | minutes: 5 % / median / 95 % / max | deviation | submitted again | "
        "loads | GPU hours loading + idle | hours |",
        "|---|---|---|---|---|---|---|---|",
        *(outcome(plan, seconds).line(name) for name, plan in plans.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
