"""Every row is delivered, failed, rejected or pending, and every place says the same."""

import csv
import re

import pandas as pd
import pytest
from click.testing import CliRunner

from dispose_stages.batch.delivery import delivery_lines
from dispose_stages.batch.failures import write_failures, write_rejects
from dispose_stages.batch.index import write_index
from dispose_stages.batch.outcomes import RowCounts, RunOutcomes
from dispose_stages.cli import cli
from dispose_stages.errors import Reason, UnitError
from dispose_stages.report.gathering import gather
from tests.toy_run import CountingStage, plan_run

TWO_FAULTS = "x,nowhere.png,nowhere.mp4"
TWICE = "i0_v0,media/i0.png,media/v0.mp4"
STAGES = ("ingest", "pose", "motion", "correspondence", "sample", "mux")


def failing(stage, label, reason=Reason.MEDIA_UNREADABLE):
    def before(unit):
        if unit.label.partition(" @")[0] == label:
            raise UnitError(reason, "as the test wants it")

    return CountingStage(stage, before)


def make_run(folder, bad_rows=(), fails=None, until="mux"):
    run = plan_run(folder, more=bad_rows)
    if fails:
        run.stages[fails[0]] = failing(*fails)
    run.perform_all(*STAGES[: STAGES.index(until) + 1] if until else ["ingest"])
    return run


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def counted(text):
    """Counts from the sentence that status, summary and report share."""
    delivered, total = map(int, re.search(r"(\d+) of (\d+) rows delivered", text).groups())
    others = {
        name: int(found[1]) if (found := re.search(rf"(\d+) {name}", text)) else 0
        for name in ("failed", "rejected", "pending")
    }
    assert delivered + sum(others.values()) == total
    return RowCounts(delivered=delivered, **others)


def everywhere(run):
    """Counts by the place they were read from."""
    outcomes = RunOutcomes.read(run.layout.root)
    write_index(outcomes)
    write_failures(outcomes)
    write_rejects(outcomes)
    status = CliRunner().invoke(cli, ["status", str(run.layout.root)]).output
    failures, rejects = rows_of(run.layout.failures), rows_of(run.layout.rejects)
    index = pd.read_parquet(run.layout.index)["status"].value_counts().to_dict()
    rejected = len({row["line"] for row in rejects})
    assert not {row["line"] for row in failures} & {row["line"] for row in rejects}
    return {
        "status": counted(status.partition("\n\n")[2]),
        "summary": counted("\n".join(delivery_lines(outcomes))),
        "report": gather(outcomes).rows,
        "tables": RowCounts(
            delivered=index.get("delivered", 0),
            failed=len(failures),
            rejected=rejected,
            pending=index.get("pending", 0),
        ),
    }


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ({}, RowCounts(delivered=4)),
        ({"bad_rows": [TWO_FAULTS, TWICE]}, RowCounts(delivered=4, rejected=2)),
        (
            {"bad_rows": [TWO_FAULTS], "fails": ("ingest", "v1.mp4")},
            RowCounts(delivered=2, failed=2, rejected=1),
        ),
        (
            {"fails": ("motion", "i0.png + v1.mp4", Reason.PERSON_LOST), "until": "motion"},
            RowCounts(failed=1, pending=3),
        ),
        (
            {"bad_rows": [TWICE], "fails": ("pose", "i0.png", Reason.NUMERIC), "until": "pose"},
            RowCounts(failed=2, rejected=1, pending=2),
        ),
    ],
)
def test_every_place_says_the_same(tmp_path, situation, expected):
    """Also half-way, with rows that have two faults and media that fail only when opened."""
    run = make_run(tmp_path, **situation)
    places = everywhere(run)
    assert places == dict.fromkeys(places, expected)


@pytest.mark.parametrize(
    ("situation", "extent"),
    [
        ({}, "all"),
        ({"bad_rows": [TWICE]}, "some"),
        ({"fails": ("mux", "i0_v0", Reason.ENCODE_FAILED)}, "some"),
        ({"until": "sample"}, "none"),
    ],
)
def test_rejected_and_pending_rows_are_not_delivered(tmp_path, situation, extent):
    """What decides the exit status counts all rows."""
    run = make_run(tmp_path, **situation)
    assert RunOutcomes.read(run.layout.root).counts().extent == extent


@pytest.mark.parametrize(
    ("stage", "label", "files", "reason"),
    [
        ("ingest", "v1.mp4", ["/media/v1.mp4"] * 2, Reason.MEDIA_UNREADABLE),
        ("pose", "i0.png", ["/media/i0.png"] * 2, Reason.NUMERIC),
        ("motion", "i1.png + v0.mp4", [""], Reason.ALIGNMENT_POOR),
        ("motion", "i1.png + v0.mp4", ["/media/i1.png"], Reason.NO_PERSON_REFERENCE),
        ("motion", "i1.png + v0.mp4", ["/media/v0.mp4"], Reason.PERSON_LOST),
    ],
)
def test_failures_and_rejects_name_pair_and_file(tmp_path, stage, label, files, reason):
    """Both tables have `pair_id` and `file`; where either may be at fault none is blamed."""
    run = make_run(tmp_path, [TWO_FAULTS], (stage, label, reason))
    everywhere(run)
    failures, rejects = rows_of(run.layout.failures), rows_of(run.layout.rejects)
    assert [row["file"].removeprefix(str(tmp_path)) for row in failures] == files
    assert {row["pair_id"] for row in rejects} == {"x"}
    assert [row["file"].removeprefix(str(tmp_path)) for row in rejects] == [
        "/nowhere.mp4",
        "/nowhere.png",
    ]


@pytest.mark.parametrize("damage", ["delete", "empty", "foreign"])
def test_rejects_follow_from_the_plan(tmp_path, damage):
    """Whatever became of the file, a report writes all of it again."""
    run = make_run(tmp_path, [TWO_FAULTS], ("ingest", "v1.mp4"))
    path, whole = run.layout.rejects, run.layout.rejects.read_text()
    {"delete": path.unlink, "empty": lambda: path.write_text("")}.get(
        damage, lambda: path.write_text("line,x\n1,2\n")
    )()
    write_rejects(RunOutcomes.read(run.layout.root))
    assert path.read_text() == whole
