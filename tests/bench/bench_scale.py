"""What a finished run of many pairs costs, from plan to gc: time, opens, memory, inodes.

``make bench-scale``. Media are sparse and videos empty, as in `bench_plan`; artifacts are real but
small, names, ledgers and sidecars real. Opens are counted, so that a file system on which each
takes 5 ms can be computed. The last lines compare the two sizes: 1.0 is linear.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.artifacts import Correspondence
from dispose_stages.atomic import write_bytes
from dispose_stages.batch.estimate import stage_forecasts
from dispose_stages.batch.forecast import forecast
from dispose_stages.batch.index import write_index
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.needed import needed_artifacts
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.prepare import PreparedRun, prepare_run
from dispose_stages.batch.status import run_status
from dispose_stages.batch.verify import Verification
from dispose_stages.config import STORED_STAGES
from dispose_stages.report.stage import write_report
from dispose_stages.store import archive
from dispose_stages.store.artifacts import SUFFIX, ArtifactStore
from dispose_stages.store.listing import stored_files
from tests.bench.bench_plan import lay_out_results, sparse_media
from tests.bench.size import size
from tests.workflow.conftest import fake_bundle

pytestmark = pytest.mark.bench

SIZES = size({10_000: (100, 100), 100_000: (250, 400)}, {6: (2, 3)})
OPEN_SECONDS = 0.005
_seconds: dict[int, dict[str, float]] = {}
"""CPU time of every step by number of pairs."""
_opened = 0


def _count(event: str, arguments: tuple[object, ...]) -> None:
    global _opened  # noqa: PLW0603 - a hook has no other place
    # A stream made of a descriptor raises the event a second time, and opens nothing.
    _opened += event == "open" and not isinstance(arguments[0], int)


sys.addaudithook(_count)


class Table:
    """Lines about steps, each with its times, opens and the memory of the process after it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.seconds: dict[str, float] = {}

    def step(self, name: str, act: Callable[[], object]) -> object:
        """Do it and note what it took."""
        opened, start, own = _opened, time.perf_counter(), time.process_time()
        result = act()
        self.seconds[name] = time.process_time() - own
        seconds, opens = time.perf_counter() - start, _opened - opened
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        slow = opens * OPEN_SECONDS
        times = f"{self.seconds[name]:8.2f} CPU-s{seconds:8.2f} s"
        self.say(f"  {name:<28}{times}{opens:9,} opens (+{slow:7.1f} s){peak:8.0f} MiB")
        return result


@cache
def members() -> dict[str, bytes]:
    """Of an artifact, written once."""
    with tempfile.TemporaryDirectory() as folder:
        store, key = ArtifactStore(Path(folder)), "a" * 40
        store.write("pose", key, Correspondence(np.zeros((18, 4), np.float32)))
        return archive.unpack(store.path("pose", key), max_bytes=1 << 20)


def fill(path: Path) -> str:
    """An artifact that is whole, or a video that is what its digest says."""
    if path.suffix == ".mp4":
        path.touch()
        return hashlib.sha256().hexdigest()
    head = json.loads(members()["zarr.json"])
    head["attributes"] |= {"stage": path.parents[1].name, "key": path.name.removesuffix(SUFFIX)}
    write_bytes(path, archive.pack(members() | {"zarr.json": json.dumps(head).encode()}))
    digest: str = head["attributes"]["digest"]
    return digest


def damage(layout: RunLayout) -> int:
    """What `dispose verify` finds; tables that were not written are none of it."""
    found = Verification(layout, repair=False).damages()
    return sum(path.parent != layout.root for path, _ in found)


def planned(values: dict[str, object]) -> PreparedRun:
    """Plan a run and write the plan."""
    prepared = prepare_run(values)
    prepared.commit()
    prepared.release()
    return prepared


def collect(layout: RunLayout, store: Path, *, intermediates: bool) -> int:
    """Files that `dispose gc` would delete."""
    needed = needed_artifacts(layout, intermediates=not intermediates)
    files = stored_files(store, STORED_STAGES)
    return sum((file.stage, file.key) not in needed for file in files)


def growth(few: int, many: int) -> str:
    """By which power of the number of pairs the CPU time of each step grew."""
    power = {
        name: math.log(seconds / _seconds[few][name], many / few)
        for name, seconds in _seconds[many].items()
    }
    return "  growth: " + ", ".join(f"{name} {value:.2f}" for name, value in power.items())


@pytest.mark.parametrize("pairs", SIZES)
def test_scale(pairs, tmp_path, capsys, monkeypatch):
    """Figures of every step, and what lies on disk."""
    monkeypatch.chdir(tmp_path)
    sparse_media(tmp_path / "media", *SIZES[pairs])
    fake_bundle(tmp_path / "models/tiny")
    values: dict[str, object] = {
        "run": "bench",
        "manifest": "media/pairs.csv",
        "models": "tiny",
        "store": {"path": "store", "keep": "videos"},
    }

    def say(text: str) -> None:  # at once: the large one takes long
        with capsys.disabled():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    say(f"\n{pairs:,} pairs")
    table = Table(say)
    first = table.step("plan, and write it", lambda: planned(values))
    assert isinstance(first, PreparedRun)
    layout, store = first.layout, Path("store")
    with monkeypatch.context() as quick:
        quick.setattr(os, "fsync", lambda _: None)
        lay_out_results(layout, ArtifactStore(store), fill)
    table.step("plan of the finished run", lambda: planned(values))
    outcomes = table.step("read the outcomes", lambda: RunOutcomes.read(layout.root))
    assert isinstance(outcomes, RunOutcomes)
    table.step("status", lambda: run_status(outcomes))
    table.step("index.parquet", lambda: write_index(outcomes))
    table.step("report, no pictures", lambda: write_report(outcomes, previews=0))
    assert table.step("verify", lambda: damage(layout)) == 0
    prepared = prepare_run(values)
    table.step("dry run's forecast", lambda: stage_forecasts(prepared, forecast(prepared)))
    table.step("gc", lambda: collect(layout, store, intermediates=False))
    freed = table.step("gc --intermediates", lambda: collect(layout, store, intermediates=True))
    artifacts = sum(1 for _ in stored_files(store, STORED_STAGES))
    assert freed == artifacts
    own = [Path(folder, name) for folder, _, names in os.walk(layout.root) for name in names]
    videos = sum(path.parent == layout.videos for path in own)
    plain = sum(path.stat().st_size for path in own if path.parent != layout.videos)
    say(
        f"  {artifacts:,} artifacts, {videos:,} files of videos, {len(own) - videos:,} others "
        f"({plain / 2**20:.0f} MiB): {(artifacts + len(own)) / pairs:.2f} inodes per pair"
    )
    shutil.rmtree(tmp_path)
    _seconds[pairs] = table.seconds
    if len(_seconds) > 1:
        say(growth(*sorted(_seconds)[:2]))
