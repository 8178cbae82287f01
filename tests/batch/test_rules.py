import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.io import apply_wildcards, get_wildcard_names, regex_from_filepattern

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.rules import RunRules, link_folder, memory, without_braces
from dispose_stages.batch.summary import PlanSummary, ShardSummary
from dispose_stages.errors import StoreError

FOLDERS = ["results", "./res", "{y}", "a{shard}b", "}{", "{{x}}", "[ü] 50%, 'q' \"p\"", "{a,b{2}}"]


def rules(results="results"):
    """Rules of a run of two shards of `pose` and one of each other stage."""
    shards = {
        "ingest": {"0-of-1": ShardSummary(4, "i", {})},
        "pose": {
            "0-of-2": ShardSummary(3, "p0", {"ingest": ("0-of-1",)}),
            "1-of-2": ShardSummary(1, "p1", {"ingest": ("0-of-1",)}),
        },
        "mux": {"0-of-1": ShardSummary(2, "m", {"pose": ("0-of-2", "1-of-2")})},
    }
    plan = PlanSummary(2, 0, {}, shards, "weights", "report", shard_minutes=45)
    return RunRules({"results": results, "run": "r"}, lambda: plan)


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("results", FOLDERS)
def test_snakemake_sees_no_wildcard_in_a_folder(results):
    """Braces are out of its sight, the shard is found, and the paths lead to the real folder."""
    link_folder(results)
    batch = rules(results)
    real = RunLayout(Path(batch.run_dir))
    write_text(real.ledger("pose", "1-of-2"), "here")
    path = apply_wildcards(batch.ledger("pose"), {"shard": "1-of-2"})
    assert Path(path).read_text() == "here"
    assert re.match(regex_from_filepattern(batch.ledger("pose")), path)["shard"] == "1-of-2"
    for each in (*batch.targets(), *batch.ledgers("pose"), *batch.upstream("mux")(shard("0-of-1"))):
        assert apply_wildcards(each, {}) == each
    for each in (batch.log("pose"), batch.benchmark("pose"), batch.path("index.parquet")):
        assert get_wildcard_names(each) <= {"shard"}


@pytest.mark.parametrize("results", ["it's 50%", "a}b", "{", "[x],"])
def test_ordinary_folders_are_called_what_they_are_called(results):
    """No link is made where none is needed."""
    link_folder(results)
    assert without_braces(results) == results
    assert list(Path().iterdir()) == []


def test_a_link_is_replaced_when_it_leads_elsewhere(tmp_path):
    """Somebody copied `.snakemake` from another place."""
    link = Path(without_braces("{y}"))
    link_folder("{y}")
    link.unlink()
    link.symlink_to(tmp_path)
    link_folder("{y}")
    assert link.resolve() == tmp_path / "{y}"
    assert [path.name for path in link.parent.iterdir()] == [link.name]


def shard(name):
    """Wildcards of a shard's job."""
    return SimpleNamespace(shard=name)


def test_functions_speak_of_the_plan():
    """Upstream shards, plan, work and time limits of a job."""
    batch = rules()
    assert batch.upstream("mux")(shard("0-of-1")) == [
        "results/r/ledger/pose/0-of-2.json",
        "results/r/ledger/pose/1-of-2.json",
    ]
    assert batch.shard_plan("pose")(shard("1-of-2")) == "p1"
    assert batch.work("pose", "images")(shard("0-of-2")) == "3 images"
    assert batch.minutes()(None, attempt=2) == 2 * 4 * 45
    assert batch.minutes(least=600)(None, attempt=1) == 600
    assert memory(100)(None, attempt=3) == 300


def test_everything_a_video_hangs_on_is_a_target():
    """Ledgers in the middle too, and every table."""
    assert rules().targets() == [
        "results/r/report.html",
        "results/r/index.parquet",
        "results/r/failures.csv",
        "results/r/rejects.csv",
        "results/r/scores.parquet",
        "results/r/ledger/weights.json",
        "results/r/ledger/ingest/0-of-1.json",
        "results/r/ledger/mux/0-of-1.json",
        "results/r/ledger/pose/0-of-2.json",
        "results/r/ledger/pose/1-of-2.json",
    ]


def test_a_shard_that_is_not_planned_is_named():
    """Somebody asked for a file of another plan."""
    with pytest.raises(StoreError, match="no pose shard 7-of-8"):
        rules().work("pose", "images")(shard("7-of-8"))


def test_parsing_in_a_job_imports_little():
    """Nothing of the manifest, of pydantic or of YAML: every job of a cluster parses anew."""
    code = "import sys, dispose_stages.batch.rules; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pydantic", "yaml", "numpy", "dispose_stages.batch.manifest", "dispose_stages.config"}
    assert heavy.isdisjoint(done.stdout.split())
