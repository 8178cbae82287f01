"""The report over 10,000 and 100,000 pairs with sixty metrics: size of page and blocks, seconds.

``pytest tests/bench/bench_report.py -m bench -s``. Nothing is decoded: what is told of the pairs
stands in ledgers, which are held in memory here.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import ROLES, RunOutcomes
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status, stage_of
from dispose_stages.config import Config
from dispose_stages.errors import Reason
from dispose_stages.report.stage import write_report
from tests.bench.size import size

pytestmark = pytest.mark.bench

PAIRS = size([10_000, 100_000], [300])
METRICS = 60


def run_of(folder: Path, count: int) -> RunOutcomes:
    """A finished run in which every fiftieth pair failed."""
    config = Config(store=str(folder / "store"), results=str(folder / "results"))
    layout = RunLayout(config.run_dir)
    layout.config.parent.mkdir(parents=True)
    layout.config.write_text(config.model_dump_json())
    values = np.random.default_rng(0).random((count, METRICS))
    results: dict[str, dict[str, Result]] = {
        stage: {} for stage in (*map(stage_of, ROLES), "score")
    }
    pairs = []
    for number in range(count):
        unit = f"u{number}"
        units = {**dict.fromkeys(ROLES, unit), "score_frames": unit}
        extra = {"caption": f"somebody dances, take {number}", "split": "train"}
        name, images = f"pair_{number:06d}", f"images/{number % 300}.png"
        pairs.append(
            Row(
                number + 2,
                name,
                images,
                f"videos/{number // 300}.mp4",
                config.parameters,
                extra,
                units,
            )
        )
        done = Result(Status.DONE, "ab" * 20, "d" * 64, facts={"frames": 72, "fps": 15.0})
        for found in results.values():
            found[unit] = done
        scores = {f"metric_{index}": value for index, value in enumerate(values[number].tolist())}
        results["score"][unit] = Result(Status.DONE, "ab" * 20, "d" * 64, facts={"values": scores})
        if number % 50 == 0:
            reason = Reason.PERSON_LOST
            lost = Result(Status.FAILED, reason=reason, message="person 'first' is in no frame")
            blocked = Result(Status.BLOCKED, reason=reason, origin=f"motion/{unit}")
            results["motion"][unit], results["mux"][unit] = lost, blocked
    return RunOutcomes(layout, PlanSummary(count, 1, {}, {}, "", "", 30.0), pairs, [], [], results)


@pytest.mark.parametrize("count", PAIRS)
def test_a_large_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    """Figures of the page without pictures, whose cost does not depend on the number of pairs."""
    outcomes = run_of(tmp_path, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    write_report(outcomes, previews=0)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    files = list(outcomes.layout.report_files.iterdir()) if count > 200 else []
    blocks = [path.stat().st_size for path in files]
    page = outcomes.layout.report.stat().st_size
    told = [
        f"{count} pairs: page {page / 1e6:.2f} MB, {seconds:.1f} s, peak +{peak / 1024:.0f} MiB",
        f"{len(blocks)} blocks, {sum(blocks) / 1e6:.0f} MB",
        f"the largest {max(blocks) / 1e6:.2f} MB",
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "; ".join(told) + "\n")
    assert page < 2e6
