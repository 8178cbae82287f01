from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.batch.manifest import read_manifest
from dispose_stages.batch.plan import build_plan
from dispose_stages.batch.stage import Context
from dispose_stages.batch.unit import Result
from dispose_stages.benchmark import demo
from dispose_stages.benchmark.document import with_part
from dispose_stages.benchmark.manifests import VARIANTS, self_driven_variants
from dispose_stages.benchmark.table import Table
from dispose_stages.config import load_config
from dispose_stages.score.protocol import fingerprint
from dispose_stages.score.stage import ScoreWorker
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.video import VideoReader
from tests.benchmark.documented import part_of, read_tables

ROOT = Path(__file__).parents[2]
DOCUMENTED = part_of((ROOT / "docs" / "benchmark.md").read_text(), demo.PART)
MOTION = "30" * 20
CELL = re.compile(r"(\S+) \[(\S+), (\S+)\]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The demo's drivers."""
    folder = tmp_path_factory.mktemp("demo")
    demo.render_drivers(folder)
    return folder


def test_drivers_are_rendered_once(folder):
    """The right length, size and rate; what is there stays."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    some = folder / "wave.mp4"
    some.unlink()
    paths = demo.render_drivers(folder)
    assert [path.stem for path in paths] == list(demo.MOTIONS)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    for path in paths:
        with VideoReader(path) as video:
            assert (video.frame_count, video.height, video.width, video.fps) == (9, 288, 192, 12)


def planned(folder, tmp_path):
    """The demo's plan; nothing is run."""
    manifest = tmp_path / "benchmark.csv"
    manifest.write_text(self_driven_variants(demo.render_drivers(folder), tmp_path))
    config = load_config(
        {
            "manifest": str(manifest),
            "store": str(tmp_path / "store"),
            "models": {"bundle": "small", "root": str(ROOT / "bundles" / "small")},
            "parameters": demo.PARAMETERS,
            "score": {"metrics": ["frames", "pose"]},
            "compute": {"device": "cpu"},
        }
    )
    return config, build_plan(config, read_manifest(manifest, config.parameters))


def protocols(folder, tmp_path):
    """Fingerprint of each group, as the stage would write it."""
    config, plan = planned(folder, tmp_path)
    context = Context(
        config, ArtifactStore(Path(config.store)), Path(config.models.root), "cpu", tmp_path
    )
    nobody = Frame(np.zeros((1, 134, 2)), np.zeros((1, 134)), np.zeros((1, 4)), np.zeros(1))
    indices = [-1, *range(demo.FRAMES)]
    poses = PoseTrack.from_frames([nobody] * len(indices), indices, 192, 128, 12.0)
    flow = np.zeros((demo.FRAMES, 2, 192, 192), np.int16)
    motion = MotionField(poses, np.zeros(len(poses), int), flow, 192, 128, (1, 1), (0, 0), 0.0)
    context.store.write("motion", MOTION, motion, {})
    worker, found = ScoreWorker(context), {}
    for planned_unit in plan.units["score"].values():
        unit = replace(
            planned_unit,
            inputs={"motion": Result(key=MOTION), "video": Result(facts={"fps": 12.0})},
        )
        protocol = json.loads(worker.read(unit)["protocol"])
        found.setdefault(unit.params["group"], set()).add(fingerprint(protocol["shared"]))
    return found


def group_of(metric):
    return "pose" if metric.startswith(("pck", "akd", "missing", "movement")) else "frames"


def test_the_documented_table_is_of_this_program(folder, tmp_path):
    """Its metrics, its variants, its protocols: whoever changes one of them makes it anew."""
    means, differences = read_tables(DOCUMENTED)
    assert set(means[0]) == {"metric", *VARIANTS}
    assert set(differences[0]) == {"metric", *VARIANTS} - {"full"}
    for table in (means, differences):
        assert {row[0] for row in table[1:]} == set(demo.SHOWN)
    found = protocols(folder, tmp_path)
    assert {len(prints) for prints in found.values()} == {1}, "all variants are measured alike"
    wanted = Table((), (), protocols={m: sorted(found[group_of(m)]) for m in demo.SHOWN})
    assert f"Protocols: {wanted.fingerprint} " in DOCUMENTED, (
        "dispose benchmark demo --write docs/benchmark.md"
    )


def test_every_documented_value_has_its_interval():
    """Means lie inside."""
    for table in read_tables(DOCUMENTED):
        for name, *cells in table[1:]:
            for cell in cells:
                mean, low, high = map(float, CELL.fullmatch(cell).groups())
                assert low <= mean <= high, name


def test_a_part_of_a_document_is_replaced():
    """What is around it stays; a document without a place for it is an error."""
    text = "a\n<!-- demo: begin -->\nold\n<!-- demo: end -->\nb\n"
    assert with_part(text, "demo", "| x |\n|---|\n| 1 |\n") == (
        "a\n<!-- demo: begin -->\n| x |\n|---|\n| 1 |\n<!-- demo: end -->\nb\n"
    )
    assert read_tables("| x |\n|---|\n| 1 |\n\n| y |\n|---|\n") == [[["x"], ["1"]], [["y"]]]
    with pytest.raises(ValueError, match="damage: begin"):
        with_part(text, "damage", "")


def dispose(folder, *arguments):
    """The command, in a folder of its own with the small bundle."""
    return subprocess.run(
        [sys.executable, "-m", "dispose_stages.cli", "benchmark", "demo", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def said(done):
    """The table and its remarks, without the run's progress above them."""
    return [line for line in done.stdout.splitlines() if line.startswith(("| ", "- "))]


@pytest.mark.slow
def test_the_demo_comes_to_the_documented_values(tmp_path):
    """From nothing to the table; a second call runs nothing and says the same."""
    done = dispose(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads((tmp_path / "results/benchmark_demo/benchmark_table.json").read_text())
    now = {(c["metric"], c["group"]): c["estimate"]["mean"] for c in table["cells"]}
    header, *rows = read_tables(DOCUMENTED)[0]
    for name, *cells in rows:
        for variant, cell in zip(header[1:], cells, strict=True):
            _, low, high = map(float, CELL.fullmatch(cell).groups())
            assert low <= float(f"{now[name, variant]:.4g}") <= high, (name, variant)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.zarr.zip")}
    again = dispose(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "pck_010_body" in "".join(said(done))
    assert said(again) == said(done)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.zarr.zip")} == before
