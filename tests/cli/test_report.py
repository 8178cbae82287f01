"""Tables and page are separate outputs, and one picture that fails is one picture."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from dispose_stages.batch import failures, index
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.unit import Status
from dispose_stages.cli import cli, previews
from dispose_stages.errors import Reason
from dispose_stages.report import stage as report
from dispose_stages.store import media
from tests.cli.test_previews import SHOWN, make, pair  # noqa: F401 - a fixture
from tests.toy_run import plan_run

OUTPUTS = {"index.parquet", "failures.csv", "rejects.csv", "report.html"}
FAULTS = [RuntimeError("no"), cv2.error("no"), MemoryError("no"), OverflowError("no"), KeyError(1)]


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def there(run):
    return {path.name for path in run.layout.root.iterdir() if path.name in OUTPUTS}


def videos_came_to(run, **fields):
    """Let the ledgers say so of every video."""
    for ledger in run.ledgers("mux"):
        units = {unit: replace(result, **fields) for unit, result in ledger.units.items()}
        path = run.layout.ledger("mux", ledger.shard)
        path.write_text(replace(ledger, units=units).to_json())


@pytest.fixture
def run(tmp_path):
    run = plan_run(tmp_path, images=1, videos=1)
    run.perform_all()
    run.layout.rejects.unlink()
    return run


@pytest.mark.parametrize(
    ("where", "lost", "error"),
    [
        ((report, "write_report"), "report.html", FAULTS[1]),
        ((index, "write_index"), "index.parquet", FAULTS[0]),
        ((failures, "write_failures"), "failures.csv", FAULTS[4]),
        ((failures, "write_rejects"), "rejects.csv", FAULTS[2]),
    ],
)
def test_an_output_that_fails_leaves_the_others(run, monkeypatch, where, lost, error):
    """All others are written, the one is named, and the exit status says so."""
    monkeypatch.setattr(*where, raising(error))
    result = CliRunner().invoke(cli, ["report", str(run.layout.root)])
    assert result.exit_code == 1
    assert there(run) == OUTPUTS - {lost}
    assert f"{lost}: {type(error).__name__}" in result.output


@pytest.mark.parametrize(
    ("only", "expected"), [("page", {"report.html"}), ("tables", OUTPUTS - {"report.html"})]
)
def test_page_and_tables_are_written_apart(run, only, expected):
    """The jobs of the workflow write one of the two."""
    arguments = ["report", str(run.layout.root), "--only", only]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert there(run) == expected


@pytest.mark.parametrize("error", FAULTS)
def test_a_preview_that_fails_is_one_preview(tmp_path, pair, monkeypatch, error):  # noqa: F811
    """The others are written, and it is said which one is missing and why."""
    features = np.ones((6, 4, 4), np.float32)
    pictures = make(tmp_path, pair, monkeypatch, features, SHOWN)
    monkeypatch.setattr(previews, "overlay_pose", raising(error))
    written = [path.name for path in pictures.write(tmp_path / "out")]
    assert written == ["p.correspondence.png"]
    assert pictures.failed
    assert f"no picture of pose_image: {type(error).__name__}" in pictures.remarks[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(written)


@pytest.mark.parametrize("error", FAULTS)
def test_a_file_that_fails_in_a_check_is_one_file(tmp_path, monkeypatch, error):
    """Every row of the manifest is judged, whatever opening one of them raises."""
    run = plan_run(tmp_path)
    probe = {"v1.mp4": raising(error)}
    monkeypatch.setattr(media, "probe_media", lambda path, *_, **__: probe.get(path.name, str)())
    manifest = str(tmp_path / "manifest.csv")
    result = CliRunner().invoke(cli, ["manifest", "check", manifest])
    assert "2 rows can run, 2 cannot" in result.output
    assert f"internal: {type(error).__name__}" in result.output
    assert run.layout.summary.exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"frames": "many", "fps": None},
        {"frames": 2.5, "width": [3], "fps": {}},
        {"size_bytes": 10**40, "height": True, "fps": -1e300},
    ],
)
def test_odd_facts_cost_a_cell_not_the_table(run, facts):
    """What a ledger says of one video cannot keep the index of all from being written."""
    videos_came_to(run, facts=facts)
    index.write_index(RunOutcomes.read(run.layout.root))
    report.write_report(RunOutcomes.read(run.layout.root))
    assert "of 1 row delivered" in run.layout.report.read_text()
    (row,) = pd.read_parquet(run.layout.index).to_dict("records")
    assert row["status"] == "delivered"
    assert all(pd.isna(row[name]) for name in facts if name != "height")


@pytest.mark.parametrize(
    "attempt",
    [{"found": "x"}, {"seconds": "1e999"}, {"outcome": "?"}, {"unknown": 1}, {"started": []}],
)
def test_damaged_statistics_stop_nothing(run, attempt):
    """They count as absent: status and report are made without them."""
    for name in run.plan.shards("pose"):
        path = run.layout.stats("pose", name)
        content = json.loads(path.read_text())
        content["attempts"][0] |= attempt
        path.write_text(json.dumps(content))
    for command in (
        ["status", str(run.layout.root)],
        ["report", str(run.layout.root)],
    ):
        assert CliRunner().invoke(cli, command).exit_code == 0, command
    assert Path(run.layout.report).exists()


@pytest.mark.parametrize("message", ["\x00 nothing", "\x1b[2J", "two\nlines", "\u202eback"])
def test_odd_messages_reach_every_output(run, message):
    """A control or a line feed in one message costs no output."""
    failed = {"status": Status.FAILED, "reason": Reason.ENCODE_FAILED, "message": message}
    videos_came_to(run, **failed)
    result = CliRunner().invoke(cli, ["report", str(run.layout.root)])
    assert result.exit_code == 0, result.output
    assert there(run) == OUTPUTS
    assert len(run.layout.failures.read_text().splitlines()) == 2
