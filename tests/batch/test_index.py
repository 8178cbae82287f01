import csv
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dispose_stages.batch.delivery import delivery_lines
from dispose_stages.batch.failures import write_failures
from dispose_stages.batch.index import PAIR_FACTS, extra_column, write_index
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.cli import cli
from dispose_stages.errors import Reason, StoreError, UnitError
from dispose_stages.records import record_text
from dispose_stages.report.gathering import gather
from dispose_stages.report.stage import write_report
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
    table = pd.read_parquet(run.layout.index).set_index("pair_id")
    assert list(table.index) == ["i0_v0", "i0_v1", "i1_v0", "i1_v1"]
    good, bad = table.loc["i0_v0"], table.loc["i0_v1"]
    assert (good["status"], good["output"]) == ("delivered", "videos/i0_v0.mp4")
    assert good["reference_image"].endswith("/media/i0.png")
    assert good["parameter_seed"] == 42
    assert good["key_sample"] == run.entries("sample")[run.plan.rows[0].units["sample"]].key
    assert good["seconds_sample"] > 0
    assert list(table["line"]) == [2, 3, 4, 5]
    assert good["reference_digest"] == good["key_ingest_image"]
    assert good["driver_digest"] == good["key_ingest_video"] != bad["driver_digest"]
    assert (Path(run.config.store) / good["path_motion"]).is_file()
    assert pd.isna(bad["path_motion"])
    assert good["weights_sample"] == "w"
    assert good["code_revision"].endswith(
        ": ingest 1, pose 1, correspondence 1, motion 1, sample 1, mux 1"
    )
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


def deliver(run, facts):
    """Put facts about the video into the ledgers, as the stage does."""
    for name in run.plan.shards("mux"):
        path = run.layout.ledger("mux", name)
        ledger = Ledger.read(path)
        units = {u: replace(r, facts=facts) if r.digest else r for u, r in ledger.units.items()}
        path.write_text(replace(ledger, units=units).to_json())


def tell(run, stage, unit, **fields):
    """Put further fields of a result into its ledger."""
    for name in run.plan.shards(stage):
        path = run.layout.ledger(stage, name)
        content = json.loads(path.read_text())
        if unit in content["units"]:
            content["units"][unit] |= fields
        form = (content.pop("format"), content.pop("version"))
        del content["checksum"]
        path.write_text(record_text(*form, content))


def carry(run, columns):
    """Give every pair these cells of further columns."""
    content = json.loads(run.layout.pairs.read_text())
    for pair in content["pairs"]:
        pair["extra"] = columns
    run.layout.pairs.write_text(json.dumps(content))


def test_index_describes_the_video_and_carries_the_manifests_columns(run):
    """Size, rate and duration of the file; empty cells are nulls; no name is taken twice."""
    facts = {"frames": 30, "height": 1024, "width": 576, "fps": 15.0, "size_bytes": 99}
    deliver(run, facts)
    own = {"caption": "she waves", "licence": "", "Status": "mine", "key_person": "k", "score": "7"}
    carry(run, own)
    write_index(RunOutcomes.read(run.layout.root))
    table = pd.read_parquet(run.layout.index).set_index("pair_id")
    good, bad = table.loc["i0_v0"], table.loc["i0_v1"]
    assert {name: good[name] for name in facts} == facts
    assert good["duration"] == 2.0
    assert good["video_digest"] == run.entries("mux")["i0_v0"].digest
    assert pd.isna(bad["width"])
    assert pd.isna(bad["video_digest"])
    assert (good["caption"], good["score"]) == ("she waves", "7")
    assert pd.isna(good["licence"])
    assert (good["status"], good["manifest_Status"]) == ("delivered", "mine")
    assert good["manifest_key_person"] == bad["manifest_key_person"] == "k"
    names = ["caption", "manifest_caption", "Line", "parameter_x", "score_pck"]
    assert len({extra_column(name) for name in names}) == len(names)


def test_pandas_polars_and_duckdb_read_the_same_index(run):
    """Values, nulls and types come out equal; the file says its format's version."""
    deliver(run, {"frames": 30, "height": 1024, "width": 576, "fps": 15.0, "size_bytes": 99})
    carry(run, {"caption": 'a, "b" \N{SNOWMAN}', "split": ""})
    units = run.plan.rows[0].units
    tell(run, "motion", units["motion"], warnings=["fit_without_person"])
    tell(run, "pose", units["pose_video"], facts={"scene_cuts": [12, 40]})
    write_index(RunOutcomes.read(run.layout.root))
    path = str(run.layout.index)
    by_pandas = pd.read_parquet(path).astype(object).where(lambda t: t.notna(), None)
    for column in ("warnings", "scene_cuts"):
        by_pandas[column] = [list(values) for values in by_pandas[column]]
    records = by_pandas.to_dict("records")
    assert [record["warnings"] for record in records] == [["fit_without_person"], [], [], []]
    assert [record["scene_cuts"] for record in records] == [[12, 40], [], [12, 40], []]
    assert pl.read_parquet(path).to_dicts() == records
    with duckdb.connect() as connection:
        relation = connection.read_parquet(path)
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert rows == records
    schema = pl.read_parquet_schema(path)
    assert (schema["frames"], schema["fps"], schema["split"]) == (pl.Int64, pl.Float64, pl.String)
    assert schema["parameter_max_frames"] == pl.Int64
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"format"], metadata[b"format_version"]) == (b"dispose-index", b"2")


def test_every_column_of_the_index_is_documented(run):
    """docs/data-format.md names each, or its prefix."""
    write_index(RunOutcomes.read(run.layout.root))
    text = (Path(__file__).parents[2] / "docs/data-format.md").read_text()
    section = text.partition("### Index")[2].partition("\n## ")[0]
    for name in pq.read_schema(run.layout.index).names:
        prefix = f"`{name.partition('_')[0]}_<"
        assert f"`{name}`" in section or prefix in section, name


def test_index_is_replaced_as_a_whole(run):
    """Writing again leaves one file and nothing beside it."""
    for _ in range(2):
        write_index(RunOutcomes.read(run.layout.root))
    assert [p.name for p in run.layout.root.glob("*index*")] == ["index.parquet"]


def test_failures_list_pair_stage_reason_message_and_log(run):
    """One line per pair that failed; the log is that of the job that failed."""
    write_failures(RunOutcomes.read(run.layout.root))
    with run.layout.failures.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["line"], row["pair_id"]) for row in rows] == [("3", "i0_v1"), ("5", "i1_v1")]
    assert all(row["file"].endswith("/media/v1.mp4") for row in rows)
    assert {row["stage"] for row in rows} == {"pose"}
    assert rows[0]["message"] == 'broken, "really"'
    (shard,) = run.plan.shards("pose")
    assert rows[0]["log"] == f"logs/pose/{shard}.log"


def test_index_tells_of_detection_and_alignment(run):
    """What motion said of a pair, and nothing of one that did not get there."""
    facts = dict.fromkeys(PAIR_FACTS, 0.5) | {"reference_keypoints": 17}
    codes = ["fit_without_person", "no_person_reference"]
    tell(run, "motion", run.plan.rows[0].units["motion"], facts=facts, warnings=codes)
    write_index(RunOutcomes.read(run.layout.root))
    table = pd.read_parquet(run.layout.index).set_index("pair_id")
    good, bad = table.loc["i0_v0"], table.loc["i0_v1"]
    assert {name: good[name] for name in facts} == facts
    assert list(good["warnings"]) == codes
    assert list(bad["warnings"]) == []
    assert pd.isna(bad[list(PAIR_FACTS)]).all()


@pytest.mark.parametrize(
    "codes",
    [
        ["fit_without_person"],
        ["no_person_reference"],
        ["fit_without_person", "no_person_reference"],
    ],
)
def test_warnings_are_seen_in_every_place(run, codes):
    """Status, last lines, report and the ledger that is read back."""
    unit = run.plan.rows[0].units["motion"]
    tell(run, "motion", unit, warnings=codes)
    assert [str(code) for code in run.entries("motion")[unit].warnings] == codes
    for ledger in run.ledgers("motion"):
        assert Ledger.read(run.layout.ledger("motion", ledger.shard)) == ledger
        assert ledger.to_json().count("warnings") == (unit in ledger.units)
    outcomes = RunOutcomes.read(run.layout.root)
    said = CliRunner().invoke(cli, ["status", str(run.layout.root), "--pairs"]).output
    assert f"i0_v0  warnings: {', '.join(codes)}" in said
    summary = "\n".join(delivery_lines(outcomes))
    assert gather(outcomes).warned == [(code, 1) for code in codes]
    write_report(outcomes, previews=0)
    page = run.layout.report.read_text()
    for code in codes:
        assert f"1 with a warning: {code}" in said
        assert f"1 with a warning: {code}" in summary
        assert f"{code}</span> <b>1</b>" in page


@pytest.mark.parametrize("codes", [["unheard_of"], "fit_without_person", [3]])
def test_a_ledger_with_unknown_warnings_is_refused(run, codes):
    """Its job is planned again, rather than half of what it says believed."""
    tell(run, "motion", run.plan.rows[0].units["motion"], warnings=codes)
    with pytest.raises(StoreError, match="damaged"):
        run.ledgers("motion")


def test_index_names_the_gpu_that_sampled(run):
    """Of all attempts that computed something; nothing on a CPU."""
    write_index(RunOutcomes.read(run.layout.root))
    assert pd.read_parquet(run.layout.index)["gpu"].isna().all()
    for name in run.plan.shards("sample"):
        path = run.layout.stats("sample", name)
        content = json.loads(path.read_text())
        first = content["attempts"][0] | {"gpu": "H100", "gpu_driver": "550.54", "computed": 2}
        second = first | {"gpu": "A100", "number": 2}
        idle = first | {"gpu": "V100", "number": 3, "computed": 0}
        path.write_text(json.dumps(content | {"attempts": [first, second, idle]}))
    write_index(RunOutcomes.read(run.layout.root))
    table = pd.read_parquet(run.layout.index).set_index("pair_id")
    assert tuple(table.loc["i0_v0", ["gpu", "gpu_driver"]]) == ("A100, H100", "550.54")


def test_index_names_the_card_of_each_clip(run):
    """Where cards of two kinds worked on one shard, each clip has its own."""
    first, second = sorted(run.plan.units["sample"])[:2]
    for name in run.plan.shards("sample"):
        path = run.layout.stats("sample", name)
        content = json.loads(path.read_text())
        content["cards"] = {first: ["H100", "550.54"], second: ["A100", "535.1"]}
        path.write_text(json.dumps(content))
    write_index(RunOutcomes.read(run.layout.root))
    table = pd.read_parquet(run.layout.index).set_index("pair_id")
    by_unit = {row.units["sample"]: row.pair_id for row in run.plan.rows}
    assert tuple(table.loc[by_unit[first], ["gpu", "gpu_driver"]]) == ("H100", "550.54")
    assert tuple(table.loc[by_unit[second], ["gpu", "gpu_driver"]]) == ("A100", "535.1")
    assert table["gpu"].isna().sum() == len(table) - 2
