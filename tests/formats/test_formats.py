"""Files of earlier versions are read, newer ones left alone, this one's stay as they are."""

import json
import re
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dispose_stages.artifacts import Latents, MotionField, PoseTrack, Scores
from dispose_stages.batch.control import Control
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.plan import revision
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.batch.run_files import read_pairs, read_rejects, read_run_config, read_weights
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.verify import Verification
from dispose_stages.cli import cli
from dispose_stages.config import STAGES
from dispose_stages.errors import NewerVersionError, StoreError
from dispose_stages.export.selection import read_index
from dispose_stages.records import parse
from dispose_stages.store import archive
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import provenance, read_freed
from dispose_stages.store.shelf import VideoShelf
from tests.batch.whole_run import calls, compute
from tests.formats.keep import SETTINGS, KeptStage, artifact_of, keep

KEPT = sorted((Path(__file__).parent / "kept").iterdir())
TYPES = {"pose": PoseTrack, "motion": MotionField, "sample": Latents, "score": Scores}
RUN = RunLayout(Path("results/kept"))
STORE = ArtifactStore(Path("store"))
_DIGESTED = {"checksum", "libraries", "plan", "weights", "report"}
"""Fields that follow from others, from times, or from what is installed."""


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def kept(request, tmp_path, monkeypatch):
    """A copy of what a version wrote, as the working directory."""
    folder = tmp_path / "work"
    shutil.copytree(request.param, folder)
    (folder / "models").mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return folder


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def equal(one, other):
    """Whether two artifacts hold the same."""
    for name in type(one).__dataclass_fields__:
        ours, theirs = getattr(one, name), getattr(other, name)
        if hasattr(ours, "__dataclass_fields__"):
            assert equal(ours, theirs)
        elif ours is None:
            assert theirs is None
        else:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    return True


def test_artifacts_are_read(kept):
    """With the values they were written with, every kind; what was freed is known."""
    for stage, kind in TYPES.items():
        keys = [key for key in STORE.keys(stage) if len(set(key)) > 1]
        assert keys
        for key in keys:
            assert equal(STORE.read(stage, key, kind), artifact_of(stage))
            assert set(STORE.attributes(stage, key)["provenance"]) == {"params", "unit", "upstream"}
    arrays, values = STORE.read_partial("sample", "0" * 40)
    np.testing.assert_array_equal(arrays["latents"], artifact_of("sample").latents)
    assert values == {"step": 3}
    (folder,) = Path("store/correspondence").iterdir()
    (key,) = read_freed(folder)
    assert "upstream" in provenance(STORE, "correspondence", key)


def test_files_of_a_run_are_read(kept):
    """Plan, ledgers, requests, statistics, sidecars and tables."""
    config = read_run_config(RUN)
    assert (config.run, config.store.keep) == ("kept", "videos")
    summary = PlanSummary.read(RUN.summary)
    assert summary.pairs == 1
    assert Control.read(RUN.control) == Control({"pose": {"*": "token"}}, {"mux/0-of-1": 2})
    (row,) = read_pairs(RUN)
    assert (row.image_name, row.video_name, row.line) == ("a.png", "x.mp4", 2)
    assert read_rejects(RUN) == []
    for stage in STAGES:
        for name in summary.shards[stage]:
            shard = Shard.read(RUN.shard(stage, name))
            ledger = Ledger.read(RUN.ledger(stage, name))
            assert {unit.id for unit in shard.units} == set(ledger.units)
            (attempt,) = JobStats.read(RUN.stats(stage, name)).attempts
            assert (attempt.host, attempt.seconds) == ("host", 2.0)
    assert Ledger.read(RUN.released("correspondence", "0-of-1")).units
    assert VideoShelf(RUN.videos).find(row.pair_id).size_bytes == 5
    assert read_index(RUN.index).num_rows == 1
    assert pq.read_table(RUN.scores).num_rows > 0
    assert str(RunOutcomes.read(RUN.root).counts()) == "1 of 1 rows delivered"
    damages = list(Verification(RUN, repair=False).damages())
    assert damages == []


class LaterStage(KeptStage):
    def __init__(self, name):
        super().__init__(name)
        self.revision = 2


def compute_again(code=KeptStage, **settings):
    """All jobs of a run, by stages of the revisions that the kept one was made with, or later."""
    RUN.control.unlink(missing_ok=True)
    number = code("pose").revision
    with mock.patch("dispose_stages.batch.prepare.revision", return_value=number):
        compute(SETTINGS | settings, code=code)


def test_a_store_of_an_earlier_version_is_used(kept):
    """The same plan finds every unit that the same revision of its stage has computed."""
    compute_again()
    computed = [line for line in calls() if not line.startswith("ingest")]
    assert computed == []


def test_two_versions_on_one_store_do_not_harm_each_other(kept):
    """A later one computes its own artifacts; each then finds its own, and none was touched."""
    before = contents(kept / "store") | contents(RUN.videos)
    compute_again(LaterStage, run="later")
    assert {line.split()[0] for line in calls()} == set(STAGES)
    both = contents(kept / "store") | contents(RUN.videos)
    stages = {path.parents[1].name for path in both.keys() - before.keys()}
    assert stages == {*TYPES, "correspondence"}
    assert before.items() <= both.items()
    compute_again()
    compute_again(LaterStage, run="later")
    assert [line for line in calls() if not line.startswith("ingest")] == []
    assert both == contents(kept / "store") | contents(RUN.videos)
    for layout in (RUN, RunLayout(Path("results/later"))):
        assert list(Verification(layout, repair=False).damages()) == []


def test_this_version_writes_what_is_kept(tmp_path):
    """A change of a format raises its version and keeps a new folder (tests/formats/keep.py)."""
    keep(tmp_path / "now")
    before, after = KEPT[-1], tmp_path / "now"
    names = [p.relative_to(before) for p in sorted(before.rglob("*")) if p.is_file()]
    assert {p for p in names if not (after / p).exists()} == set()
    for name in names:
        if name.suffix == ".json" and name.name != "config.json":
            assert_holds(
                parse((after / name).read_bytes()), parse((before / name).read_bytes()), name
            )
        if name.suffix == ".zip":
            heads = [archive.unpack(folder / name, max_bytes=1 << 20) for folder in (before, after)]
            old, new = (parse(head.pop("zarr.json"))["attributes"] for head in heads)
            assert_holds(new, old, name)
            assert heads[0] == heads[1], name


def assert_holds(now, before, name):
    """Everything that was said is said in the same way; more may be."""
    if isinstance(before, dict):
        for key in before.keys() - _DIGESTED:
            assert key in now, (name, key)
            assert_holds(now[key], before[key], name)
    elif isinstance(before, list):
        assert len(now) == len(before), name
        for one, other in zip(now, before, strict=True):
            assert_holds(one, other, name)
    else:
        assert now == before, name


RECORDS = [
    "plan/summary.json",
    "plan/pairs.json",
    "plan/control.json",
    "plan/sample/0-of-1.json",
    "ledger/sample/0-of-1.json",
    "ledger/weights.json",
    "released/correspondence/0-of-1.json",
]


def raise_version(path, name="version", by=1):
    content = json.loads(path.read_text())
    content[name] += by
    path.write_text(json.dumps(content))


def dispose(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


READERS = {
    "plan/summary.json": PlanSummary.read,
    "plan/pairs.json": lambda _: read_pairs(RUN),
    "plan/control.json": Control.read,
    "plan/sample/0-of-1.json": Shard.read,
    "ledger/weights.json": lambda _: read_weights(RUN),
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_of_a_newer_version_is_refused(kept, record):
    """By its reader, and by `verify`, which takes nothing out of use."""
    raise_version(RUN.root / record)
    before = contents(kept)
    with pytest.raises(NewerVersionError, match="newer version of this program"):
        READERS.get(record, Ledger.read)(RUN.root / record)
    if not record.startswith("released"):
        with pytest.raises(NewerVersionError):
            list(Verification(RUN, repair=True).damages())
    assert contents(kept) == before


@pytest.mark.parametrize("record", ["plan/summary.json", "plan/control.json"])
def test_a_run_that_a_newer_version_has_planned_is_left_alone(kept, record):
    """Planning writes nothing over what it does not understand."""
    raise_version(RUN.root / record)
    before = contents(kept)
    with pytest.raises(NewerVersionError):
        prepare_run(SETTINGS)
    assert contents(kept) == before


@pytest.mark.parametrize("record", ["plan/summary.json", "ledger/sample/0-of-1.json"])
def test_gc_of_an_older_version_deletes_nothing_of_a_newer_run(kept, record):
    """Two versions on one store: what the newer run needs cannot be told, so all of it stays."""
    raise_version(RUN.root / record)
    before = contents(kept)
    gc = ("gc", RUN.root, "--intermediates", "--older-than", "0", "--delete")
    assert isinstance(dispose(*gc).exception, NewerVersionError)
    assert contents(kept) == before


@pytest.mark.parametrize("stage", TYPES)
def test_an_artifact_of_a_newer_version_is_neither_read_nor_replaced(kept, stage):
    """The job says so and fails; the file stays byte for byte."""
    key = next(key for key in STORE.keys(stage) if len(set(key)) > 1)
    path = STORE.path(stage, key)
    files = archive.unpack(path, max_bytes=1 << 20)
    head = parse(files["zarr.json"])
    head["attributes"]["format_version"] += 1
    path.write_bytes(archive.pack(files | {"zarr.json": json.dumps(head).encode()}))
    before = path.read_bytes()
    for act in (STORE.digest, STORE.verified_digest, STORE.attributes):
        with pytest.raises(NewerVersionError, match="newer version"):
            act(stage, key)
    with pytest.raises(NewerVersionError):
        STORE.read(stage, key, TYPES[stage])
    with pytest.raises(NewerVersionError):
        list(Verification(RUN, repair=True).damages())
    with pytest.raises(NewerVersionError):
        compute_again()
    assert path.read_bytes() == before


def test_a_video_of_a_newer_version_is_not_made_again(kept):
    """Its sidecar is not taken for a foreign one."""
    (sidecar,) = RUN.videos.glob("*.json")
    raise_version(sidecar, "format_version")
    with pytest.raises(NewerVersionError):
        prepare_run(SETTINGS)


def test_artifacts_with_a_later_versions_suffix_are_nobodys(kept):
    """What a version that raises the format writes beside these is neither listed nor deleted."""
    path = STORE.path("sample", "ab" * 20)
    later = path.with_name(f"{'ab' * 20}.v2.zarr.zip")
    later.parent.mkdir(parents=True, exist_ok=True)
    later.write_bytes(b"later")
    assert "ab" * 20 not in set(STORE.keys("sample"))
    result = dispose("gc", RUN.root, "--older-than", "0", "--delete")
    assert result.exit_code == 0, result.output
    assert later.read_bytes() == b"later"
    damages = Verification(RUN, repair=True).damages(whole_store=True)
    assert all(path != later for path, _ in damages)


@pytest.mark.parametrize("record", RECORDS)
def test_an_older_version_is_refused_with_what_makes_it_anew(kept, record):
    """In one line; planning then writes it as this version does."""
    raise_version(RUN.root / record, by=-1)
    reader = READERS.get(record, Ledger.read)
    with pytest.raises(StoreError, match="makes it anew"):
        reader(RUN.root / record)
    prepared = prepare_run(SETTINGS)
    prepared.commit()
    prepared.release()
    if record.startswith("plan/"):
        assert reader(RUN.root / record)


def test_the_changelog_names_the_revision_of_every_stage():
    """Of the next release, so that nobody learns from recomputed videos that numbers changed."""
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.split("\n## ")[1]
    told = dict(
        re.findall(r"`(\w+)` (\d+)", newest.partition("### Revisions")[2].partition("###")[0])
    )
    assert {stage: int(told[stage]) for stage in STAGES} == {s: revision(s) for s in STAGES}
