import csv

import pandas as pd
import pytest

from dispose_stages.batch.index import write_failures, write_index, write_rejects
from dispose_stages.batch.manifest import RowProblem, rejects_csv
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.errors import Reason, UnitError
from tests.toy_run import CountingStage, plan_run


def fail(label):
    def before(unit):
        if unit.label == label:
            raise UnitError(Reason.MEDIA_UNREADABLE, 'broken, "really"')

    return before


@pytest.fixture
def run(tmp_path):
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", fail("v1.mp4"))
    run.perform_all()
    return run


def test_index_has_a_record_per_pair(run):
    """Inputs, parameters, keys, seconds, output, status and reason of every pair."""
    write_index(RunOutcomes.read(run.layout.root))
    table = pd.read_parquet(run.layout.index).set_index("pair")
    assert list(table.index) == ["i0_v0", "i0_v1", "i1_v0", "i1_v1"]
    good, bad = table.loc["i0_v0"], table.loc["i0_v1"]
    assert (good["status"], good["output"]) == ("delivered", "videos/i0_v0.mp4")
    assert good["reference_image"].endswith("/media/i0.png")
    assert good["parameter_seed"] == 42
    assert good["key_sample"] == run.entries("sample")[run.plan.pairs[0].units["sample"]].key
    assert good["seconds_sample"] > 0
    assert (bad["status"], bad["failed_stage"], bad["reason"]) == (
        *("failed", "pose"),
        "media_unreadable",
    )
    assert pd.isna(bad["output"])
    assert pd.isna(bad["seconds_sample"])


def test_index_has_the_same_columns_and_types_whatever_happened(run, tmp_path):
    """Tables of several runs can be joined."""
    write_index(RunOutcomes.read(run.layout.root))
    other = plan_run(tmp_path / "other")
    write_index(RunOutcomes.read(other.layout.root))
    types = [dict(pd.read_parquet(r.layout.index).dtypes) for r in (run, other)]
    assert types[0] == types[1]


def test_index_is_replaced_as_a_whole(run):
    """Writing again leaves one file and nothing beside it."""
    for _ in range(2):
        write_index(RunOutcomes.read(run.layout.root))
    assert [p.name for p in run.layout.root.glob("*index*")] == ["index.parquet"]


def test_failures_list_pair_stage_reason_message_and_log(run):
    """One line per pair that failed; the log is that of the job that failed."""
    assert len(write_failures(RunOutcomes.read(run.layout.root))) == 2
    with run.layout.failures.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["pair"] for row in rows] == ["i0_v1", "i1_v1"]
    assert {row["stage"] for row in rows} == {"pose"}
    assert rows[0]["message"] == 'broken, "really"'
    (shard,) = run.plan.shards("pose")
    assert rows[0]["log"] == f"logs/pose/{shard}.log"


def test_rejects_grow_by_what_ingest_found(tmp_path):
    """Media that only turned out to be bad when opened are listed with their rows, once."""
    run = plan_run(tmp_path)
    run.layout.rejects.write_text(rejects_csv([RowProblem(9, "seed", "not a number")]))
    run.stages["ingest"] = CountingStage("ingest", fail("v1.mp4"))
    run.perform_all()
    for _ in range(2):
        write_rejects(RunOutcomes.read(run.layout.root))
    with run.layout.rejects.open(newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    reason = 'media_unreadable: broken, "really"'
    assert rows == [
        ("3", "driving_video", reason),
        ("5", "driving_video", reason),
        ("9", "seed", "not a number"),
    ]
