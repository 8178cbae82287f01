from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from dispose_stages.atomic import write_text
from dispose_stages.batch.run_lock import RunBusyError, RunLock
from dispose_stages.errors import ExportError, StoreError
from dispose_stages.export import withdrawal
from dispose_stages.export.dataset import DataSet
from dispose_stages.export.publish import lock_of
from dispose_stages.export.settings import Layout, read_takedown
from dispose_stages.export.takedown import find, remember, remove, standing_list
from dispose_stages.store.files import file_digest
from tests.export.finished_run import FinishedRun, crossed, motion_field
from tests.export.test_export import KilledError, contents, make


@pytest.fixture
def results(tmp_path):
    """Two runs that share a store, with a data set of each layout; and everything's folder."""
    first = crossed(tmp_path, 2, 2)
    second = FinishedRun(tmp_path, "second")
    for image, video in ((0, 5), (1, 6)):
        second.add(image, video, f"s{image}_{video}", **dict.fromkeys(("licence",), "x"))
    second.write()
    for layout in Layout:
        make(first, tmp_path / "sets" / layout, layout)
    facts = {"format": "dispose-probe", "path": str(first.image(0))}
    digest = file_digest(first.image(0))
    write_text(
        tmp_path / "store/ingest/ab/x.json", json.dumps({**facts, "facts": {"digest": digest}})
    )
    write_text(tmp_path / "store/ingest/cd/y.json", json.dumps({**facts, "digest": digest}))
    other = {"digest": file_digest(first.image(1)), "path": str(first.image(1))}
    write_text(tmp_path / "store/ingest/ef/z.json", json.dumps(other))
    (first.layout.report).write_text("what is said")
    first.layout.report_files.mkdir()
    (first.layout.report_files / "x.mp4").write_text("pictures")
    return first, second


def digest_of(path):
    return frozenset({file_digest(path)})


def stems(paths):
    return sorted({path.name.split(".")[0] for path in paths})


def test_everything_of_an_image_is_found_over_all_runs(results, tmp_path):
    """Its pose, motion and videos and the data sets that hold them, and nothing of others."""
    first, second = results
    found = find(tmp_path / "results", digest_of(first.image(0)))
    of_image = [first.records[0], first.records[1], second.records[0]]
    expected = {first.records[0]["key_pose_image"]} | {r["key_motion"] for r in of_image}
    assert stems(found.artifacts) == sorted(expected)
    assert found.artifacts[-1].parts[-3] == "pose", "what others are made from goes last"
    assert stems(found.videos) == ["p0_0", "p0_1", "s0_5"]
    assert {(d.folder.name, d.samples) for d in found.datasets} == {(x.value, 2) for x in Layout}
    assert found.sources == {first.image(0)}
    assert [path.name for path in found.others] == [
        *("x.json", "y.json"),
        *("report.html", "report_files", ".staging", ".staging"),
    ]
    assert found.rows[0] == "first: line 2 (p0_0)"
    assert len(found.rows) == 3
    assert not found.unknown


def test_everything_of_a_driver_is_found(results, tmp_path):
    """The same for a video; poses of images stay."""
    first, _ = results
    found = find(tmp_path / "results", digest_of(first.video(1)))
    of_video = [first.records[1], first.records[3]]
    expected = {r["key_motion"] for r in of_video} | {of_video[0]["key_pose_video"]}
    assert stems(found.artifacts) == sorted(expected)
    assert stems(found.videos) == ["p0_1", "p1_1"]


def test_results_of_earlier_plans_and_unfinished_ones_are_found(results, tmp_path):
    """Provenance tells, not the plan; states of unfinished units go with them."""
    first, second = results
    digests = digest_of(first.image(0))
    upstream = {"a": {"stage": "motion", "key": first.records[0]["key_motion"], "digest": "d"}}
    first.store.write("score", "ab" * 20, motion_field(1), {"upstream": upstream})
    first.store.write("motion", "cd" * 20, motion_field(2), {"upstream": "damaged"})
    first.store.write_partial("sample", "ef" * 20, {})
    shutil.rmtree(first.layout.root / "ledger", ignore_errors=True)
    first.layout.index.unlink()
    second.layout.index.write_text("damaged")
    found = find(tmp_path / "results", digests)
    assert found.artifacts[0].name.startswith("ab" * 20), "made from others: first"
    assert any(path.name.startswith("ef" * 20) for path in found.others)
    assert [path.name for path in found.unknown] == [f"{'cd' * 20}.zarr.zip"]
    assert stems(found.videos) == ["p0_0", "p0_1", "s0_5"]
    assert not found.rows


def test_removing_leaves_the_rest_as_it_was(results, tmp_path):
    """Nothing of the source is found again; all other files have their bytes."""
    first, _ = results
    digests = digest_of(first.image(0))
    store = contents(tmp_path / "store") | contents(tmp_path / "results")
    found = find(tmp_path / "results", digests)
    gone = {path.name for path in found.paths()}
    remove(tmp_path / "results", digests, found)
    again = find(tmp_path / "results", digests)
    assert not [*again.paths(), *again.datasets]
    after = contents(tmp_path / "store") | contents(tmp_path / "results")
    assert {n for n in store if n not in after and not n.startswith("first/videos/.")} == {
        n for n in store if gone & set(Path(n).parts)
    }
    assert all(after[name] == store[name] for name in store.keys() & after.keys())
    listed = standing_list(tmp_path / "results")
    assert read_takedown(listed) == digests
    assert first.image(0).exists()


@pytest.mark.parametrize("layout", Layout)
def test_a_data_set_is_rewritten_without_the_source(results, tmp_path, layout):
    """Samples, records, counts and digests agree again, and it is what an export would make."""
    first, _ = results
    folder, digests = tmp_path / "sets" / layout, digest_of(first.image(0))
    remove(tmp_path / "results", digests, find(tmp_path / "results", digests))
    dataset = DataSet.read(folder)
    assert [record["key"] for record in dataset.records] == ["p1_0", "p1_1"]
    assert dataset.counts() == {"samples": 2, "taken_down": 2}
    assert not [n for n in contents(folder) if "p0_" in n]
    for name, digest in contents(folder).items():
        assert name == "SHA256SUMS" or f"{digest}  {name}\n" in (folder / "SHA256SUMS").read_text()
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert b"p0_0" not in everything
    assert next(iter(digests)).encode() not in everything
    if layout is Layout.WEBDATASET:
        with tarfile.open(folder / "data/train-00001.tar") as tar:
            assert {n.partition(".")[0] for n in tar.getnames()} == {"p1_0", "p1_1"}


def test_shards_that_hold_others_too_keep_them_byte_by_byte(tmp_path):
    """A rewritten shard is the one an export of the remaining samples would write."""
    run = crossed(tmp_path, 2, 2)
    for layout in Layout:
        make(run, tmp_path / "sets" / layout, layout, samples_per_shard=4)
    digests = digest_of(run.video(0))
    remove(tmp_path / "results", digests, find(tmp_path / "results", digests))
    kept = FinishedRun(tmp_path, "first")
    kept.records = [run.records[1], run.records[3]]
    kept.write()
    for layout in Layout:
        make(kept, tmp_path / "again" / layout, layout, samples_per_shard=4)
        for name, digest in contents(tmp_path / "again" / layout / "data").items():
            assert contents(tmp_path / "sets" / layout / "data")[name] == digest, name


def test_a_data_set_of_nothing_else_or_never_finished_goes_altogether(tmp_path, monkeypatch):
    """No file is left of it but what the user added."""
    run = crossed(tmp_path, 1, 2)
    make(run, tmp_path / "whole")
    (tmp_path / "whole/notes.txt").write_text("mine")
    from dispose_stages.export import publish as publishing

    def killed(*_):
        raise KilledError

    monkeypatch.setattr(publishing, "write_documents", killed)
    with pytest.raises(KilledError):
        make(run, tmp_path / "half")
    digests = digest_of(run.image(0))
    found = find(tmp_path / "results", digests)
    assert {(d.folder.name, d.samples) for d in found.datasets} == {("whole", 2), ("half", None)}
    remove(tmp_path / "results", digests, found)
    assert contents(tmp_path / "whole").keys() == {"notes.txt"}
    assert not contents(tmp_path / "half")


def test_exports_honour_the_standing_list(tmp_path):
    """What is remembered adds up."""
    run = crossed(tmp_path, 2, 1)
    one, two = digest_of(run.image(0)), frozenset({"0" * 64})
    remember(tmp_path / "results", one)
    remember(tmp_path / "results", two)
    listed = read_takedown(standing_list(tmp_path / "results"))
    assert listed == one | two
    dataset = make(run, tmp_path / "d", takedown=listed)
    assert [record["pair_id"] for record in dataset.records] == ["p1_0"]


def test_lists_are_checked(tmp_path):
    """Remarks and empty lines are fine; what is no digest is named with its line."""
    path = tmp_path / "list.txt"
    path.write_text(f"# all of them\n\n{'A' * 64}  # asked on Monday\n")
    assert read_takedown(path) == {"a" * 64}
    path.write_text(f"{'a' * 64}\nabc\n")
    with pytest.raises(ExportError, match="line 2: 'abc' is no SHA-256"):
        read_takedown(path)
    with pytest.raises(ExportError, match="cannot be read"):
        read_takedown(tmp_path / "none.txt")


@pytest.mark.parametrize("layout", Layout)
def test_a_withdrawal_that_was_killed_is_taken_up(results, tmp_path, monkeypatch, layout):
    """Its documents still name who is in no file any more; so does a data set that lost a file."""
    first, _ = results
    folder, digests = tmp_path / "sets" / layout, digest_of(first.image(0))

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(withdrawal, "write_documents", killed)
        with pytest.raises(KilledError):
            remove(tmp_path / "results", digests, find(tmp_path / "results", digests))
    found = find(tmp_path / "results", digests)
    assert folder in {dataset.folder for dataset in found.datasets}
    remove(tmp_path / "results", digests, found)
    assert [record["key"] for record in DataSet.read(folder).records] == ["p1_0", "p1_1"]
    assert not find(tmp_path / "results", digests).datasets


@pytest.mark.parametrize("of", ["run", "export"])
def test_a_working_run_is_left_alone(results, tmp_path, of):
    """Nothing is removed while a process may make it again."""
    first, _ = results
    digests = digest_of(first.image(0))
    found = find(tmp_path / "results", digests)
    folder = tmp_path / "sets" / Layout.WEBDATASET
    lock = RunLock(first.layout.run_lock if of == "run" else lock_of(folder))
    lock.acquire()
    before = contents(tmp_path / "store")
    with pytest.raises(RunBusyError):
        remove(tmp_path / "results", digests, found)
    lock.release()
    assert contents(tmp_path / "store") == before
    with pytest.raises(StoreError, match="holds no runs"):
        find(tmp_path, digests)
