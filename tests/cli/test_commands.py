import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dispose_stages.batch.control import Control
from dispose_stages.batch.lease import Lease
from dispose_stages.batch.run_lock import RunBusyError, RunLock
from dispose_stages.cli import cli
from dispose_stages.cli.takedown import advice
from dispose_stages.errors import ConfigError, DisposeError, Reason, StoreError, UnitError
from dispose_stages.export.takedown import Found
from dispose_stages.store.artifacts import ArtifactStore
from tests.store.clips import write_clip
from tests.toy_run import CountingStage, plan_run


def dispose(*arguments):
    """Output of a command; its own errors are raised."""
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=True)
    if isinstance(result.exception, DisposeError):
        raise result.exception
    return result


def fail(reason, label):
    def before(unit):
        if unit.label == label:
            raise UnitError(reason, "made to fail")

    return before


@pytest.fixture
def run(tmp_path):
    """A finished run in which everything with video 1 failed in pose."""
    run = plan_run(tmp_path)
    run.stages["pose"] = CountingStage("pose", fail(Reason.NO_FRAMES, "v1.mp4"))
    run.perform_all()
    return run


def test_status_shows_counts_and_reasons(run):
    """A line per stage, and with --pairs one per pair that failed."""
    output = dispose("status", run.layout.root, "--pairs").output
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line}
    assert lines["stage"][:6] == ["stage", "done", "running", "failed", "blocked", "pending"]
    assert lines["pose"][1:6] == ["3", "0", "1", "0", "0"]
    assert lines["mux"][1:6] == ["2", "0", "0", "2", "0"]
    assert "2 of 4 rows delivered, 2 failed" in output
    assert "i0_v1  failed in pose: no_frames: made to fail" in output
    assert "i0_v0 " not in output


def test_status_watch_ends_with_the_run(run):
    """Nothing is left, so it shows once and returns."""
    assert dispose("status", run.layout.root, "--watch").output.count("ingest") == 1


def test_inspect_shows_artifacts(run):
    """Keys, files, arrays with their axes, and why a pair failed."""
    output = dispose("inspect", run.layout.root, "i0_v0").output
    key = run.entries("sample")[run.plan.rows[0].units["sample"]].key
    assert f"key {key}" in output
    assert "latents: float32 (1 f x 4 x 1 h x 1 w)" in output
    assert "seed=42" in output
    failed = dispose("inspect", run.layout.root, "i0_v1").output
    assert "pose failed: no_frames: made to fail" in failed
    assert "motion: blocked" in failed


def test_inspect_names_a_pair_it_does_not_know(run):
    """And says where to look."""
    with pytest.raises(StoreError, match="no pair 'nobody'; it has i0_v0, i0_v1, i1_v0 and 1 more"):
        dispose("inspect", run.layout.root, "nobody")


@pytest.mark.parametrize(
    "command", ["status", "report", "retry", "verify", "gc", "fingerprint", "archive --to x"]
)
def test_a_folder_without_a_run_is_called_so(tmp_path, command):
    """By every command in the same words."""
    name, *options = command.split()
    with pytest.raises(StoreError, match=f"{tmp_path}/typo holds no planned run \\(no "):
        dispose(name, tmp_path / "typo", *options)


def test_a_run_of_another_version_is_called_so(run):
    """It is there, and the next plan makes it this version's."""
    values = json.loads(run.layout.config.read_text())
    run.layout.config.write_text(json.dumps(values | {"of_tomorrow": 1}))
    said = "(?s)of another version .*`dispose run` writes it.*of_tomorrow"
    with pytest.raises(StoreError, match=said):
        dispose("status", run.layout.root)


def test_takedown_names_a_source_once(tmp_path, monkeypatch):
    """Runs may have it by a relative and by an absolute path."""
    monkeypatch.chdir(tmp_path)
    found = Found(sources={Path("a.jpg"), tmp_path / "a.jpg"})
    assert list(advice(found)) == [f"the source itself: {tmp_path}/a.jpg"]


def test_takedown_of_what_is_no_file_says_so(tmp_path):
    """A typing error in a path is no wrong digest."""
    with pytest.raises(DisposeError, match="neither a file that is there nor a digest"):
        dispose("takedown", tmp_path / "gone.jpg", "--results", tmp_path)


def test_inspect_of_a_lost_artifact_says_so(run, tmp_path):
    """The ledger names an artifact that someone deleted."""
    for path in (tmp_path / "store" / "sample").rglob("*.zip"):
        path.unlink()
    output = dispose("inspect", run.layout.root, "i0_v0").output
    assert "no artifact at" in output


@pytest.mark.parametrize(
    ("options", "units"),
    [
        ([], 1),
        (["--reason", "no_frames"], 1),
        (["--reason", "oom"], 0),
        (["--stage", "pose"], 1),
        (["--stage", "sample"], 0),
    ],
)
def test_retry_reopens_what_was_asked_for(run, options, units):
    """Jobs with such failures get a new epoch; blocked units are no failures."""
    output = dispose("retry", run.layout.root, *options).output
    (shard,) = run.plan.shards("pose")
    control = Control.read(run.layout.control)
    assert control.epochs == ({f"pose/{shard}": 1} if units else {})
    assert ("1 units in 1 jobs re-opened" if units else "nothing to re-open") in output


def test_retry_dry_run_changes_nothing(run):
    """It only counts."""
    output = dispose("retry", run.layout.root, "--dry-run").output
    assert "pose: 1 failed units" in output
    assert not run.layout.control.exists()


def test_retry_waits_for_no_running_run(run):
    """A run that is under way keeps its plan."""
    lock = RunLock(run.layout.run_lock)
    lock.acquire()
    with pytest.raises(RunBusyError):
        dispose("retry", run.layout.root)
    lock.release()


def files(root):
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def store(run, tmp_path):
    """The run's store with things that no run needs, an old one and a new one."""
    store = tmp_path / "store"
    old = ["pose/aa/aa11111111.zarr.zip", "sample/bb/bb11111111.partial.zarr.zip"]
    old += ["motion/cc/.cc11111111.zarr.zip.12-ab.tmp", "notes/readme.txt", "pose/keep.txt"]
    for name in (*old, "pose/dd/dd11111111.zarr.zip"):
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1_000_000)
        if name in old:
            os.utime(path, (1, 1))
    for path in store.rglob("*.zarr.zip"):
        if path.stat().st_size < 1_000_000:
            os.utime(path, (1, 1))
    return store


def test_gc_only_looks_by_default(run, store):
    """Sizes are shown and nothing is deleted."""
    before = files(store)
    output = dispose("gc", run.layout.root).output
    assert "3 files, 3.0 MB can be deleted (with --delete)" in output
    assert files(store) == before


def test_gc_deletes_what_no_run_needs_and_nothing_else(run, store):
    """Needed and young artifacts stay, and so does whatever is no artifact."""
    before = files(store)
    assert "3.0 MB deleted" in dispose("gc", run.layout.root, "--delete").output
    assert before - files(store) == {
        "pose/aa/aa11111111.zarr.zip",
        "sample/bb/bb11111111.partial.zarr.zip",
        "motion/cc/.cc11111111.zarr.zip.12-ab.tmp",
    }
    run.perform_all("pose", "motion", "sample")
    assert run.stages["sample"].calls.total() == 2


def test_gc_can_be_told_to_spare_nothing_young(run, store):
    """--older-than 0 takes the new file too."""
    dispose("gc", run.layout.root, "--older-than", "0", "--delete")
    assert "pose/dd/dd11111111.zarr.zip" not in files(store)


def test_gc_spares_what_neighbours_and_unfinished_jobs_want(tmp_path):
    """Runs in the same folder count, and so do jobs whose ledger is not written yet."""
    one = plan_run(tmp_path, run="one")
    two = plan_run(tmp_path, images=1, run="two", parameters={"seed": 5})
    one.perform_all()
    two.perform_all("ingest", "pose", "motion", "correspondence", "sample")
    (shard,) = two.plan.shards("sample")
    two.layout.ledger("sample", shard).unlink()  # its job is still at work
    before = files(tmp_path / "store")
    dispose("gc", one.layout.root, "--older-than", "0", "--delete")
    assert files(tmp_path / "store") == before
    two.layout.summary.unlink()  # a folder of no run any more
    dispose("gc", one.layout.root, "--older-than", "0", "--delete")
    gone = {name.split("/")[0] for name in before - files(tmp_path / "store")}
    assert gone == {"sample"}


@pytest.mark.parametrize("state", ["alive", "slow clock", "dead", "long dead"])
def test_gc_never_takes_what_a_living_lease_holds(run, store, state):
    """The saved state of a unit in work stays; a dead job's goes, and its lease with it.

    A clock that is some minutes behind kills nobody.
    """
    artifacts = ArtifactStore(store)
    lease = Lease(artifacts.lease_path("sample", "bb11111111"))
    assert lease.acquire()
    changes = {
        "dead": {"pid": 2**30},
        "slow clock": {"host": "another", "updated": time.time() - 600},
        "long dead": {"host": "another", "updated": time.time() - 7200},
    }
    if state in changes:
        content = json.loads(artifacts.lease_path("sample", "bb11111111").read_text())
        lease.release()
        text = json.dumps(content | changes[state])
        artifacts.lease_path("sample", "bb11111111").write_text(text)
    dispose("gc", run.layout.root, "--older-than", "0", "--delete")
    kept = "sample/bb/bb11111111.partial.zarr.zip" in files(store)
    assert kept == (state in {"alive", "slow clock"})
    assert artifacts.lease_path("sample", "bb11111111").exists() == kept
    lease.release()


def test_config_writes_and_checks(tmp_path):
    """A changed file is found, with the command that mends it."""
    folder = tmp_path / "config"
    assert dispose("config", "--folder", folder, "--check").exit_code == 1
    assert dispose("config", "--folder", folder).exit_code == 0
    assert dispose("config", "--folder", folder, "--check").exit_code == 0
    (folder / "config.schema.json").write_text("{}")
    result = dispose("config", "--folder", folder, "--check")
    assert result.exit_code == 1
    assert "config.schema.json is outdated; run `dispose config`" in result.output


@pytest.fixture
def media(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    (tmp_path / "v.mp4").write_text("no video")
    (tmp_path / "own.yaml").write_text("run: own\n")
    return tmp_path


def test_manifest_check_opens_media_and_lists_all(media):
    """Cells, ids and the media's content are checked in one go."""
    path = media / "m.csv"
    path.write_text(
        "reference_image,driving_video,pair_id,seed\na.png,v.mp4,p,x\nb.png,none.mp4,q,1\n"
        "b.png,v.mp4,r,1\n"
    )
    result = dispose("manifest", "check", path, "--config", media / "own.yaml")
    assert result.exit_code == 1
    lines = [line.split()[:2] for line in result.stdout.splitlines()[1:-1]]
    assert [(line, column) for line, column in lines] == [
        ("2", "seed"),
        ("3", "driving_video"),
        ("4", "driving_video"),
        ("4", "reference_image"),
    ]
    assert "media_unreadable" in result.output
    assert "0 rows can run, 3 cannot" in result.output


def test_manifest_check_names_a_configuration_that_is_not_there(media):
    """A typing error is not taken for the defaults."""
    (media / "m.csv").write_text("reference_image,driving_video\nb.png,v.mp4\n")
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        dispose("manifest", "check", media / "m.csv", "--config", media / "none.yaml")


def test_manifest_check_foresees_what_reading_says(media):
    """A video that is cut off will do where `max_frames` ends before that."""
    write_clip(media / "whole.mp4", 40, fps=20.0)
    content = (media / "whole.mp4").read_bytes()
    (media / "v.mp4").write_bytes(content[: len(content) * 3 // 4])
    path = media / "m.csv"
    path.write_text(
        "reference_image,driving_video,sample_stride,max_frames\na.png,v.mp4,2,\n"
        "a.png,v.mp4,2,2\na.png,v.mp4,1,39\na.png,whole.mp4,1,\n"
    )
    result = dispose("manifest", "check", path, "--config", media / "own.yaml")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["2", "4"]
    assert all("max_frames=" in line and "media_unreadable" in line for line in lines[1:-1])


def test_manifest_check_names_the_columns_that_decide_nothing(media):
    """So that a column meant for the pipeline is not carried along unnoticed."""
    path = media / "m.csv"
    path.write_text("reference_image,driving_video,steps\nb.png,v.mp4,50\n")
    result = dispose("manifest", "check", path, "--shallow", "--config", media / "own.yaml")
    assert "carried along, without influence: steps\n" in result.output


def test_manifest_check_can_stay_shallow(media):
    """Without opening media only what the file system says is checked."""
    path = media / "m.csv"
    path.write_text("reference_image,driving_video\nb.png,v.mp4\n")
    result = dispose("manifest", "check", path, "--shallow", "--config", media / "own.yaml")
    assert (result.exit_code, result.output) == (0, f"{path}: 1 rows can run, 0 cannot\n")


def test_manifest_cross_writes_a_manifest_beside_its_media(media):
    """Paths are relative to the output's folder."""
    for name in ("images", "videos"):
        (media / name).mkdir()
    (media / "images" / "a.png").write_text("x")
    (media / "videos" / "v.mp4").write_text("x")
    output = media / "out.csv"
    result = dispose("manifest", "cross", media / "images", media / "videos", "-o", output)
    assert result.output == f"{output}: 1 pairs\n"
    (row,) = csv.DictReader(output.read_text().splitlines())
    assert row == {"reference_image": "images/a.png", "driving_video": "videos/v.mp4"}


def test_stage_commands_perform_a_shard(tmp_path):
    """`dispose ingest` writes the ledger and exits with the job's status."""
    run = plan_run(tmp_path, 1, 1)
    (shard,) = run.plan.shards("ingest")
    result = dispose("ingest", run.layout.root, "--shard", shard)
    assert result.exit_code == 0
    assert {e.reason for e in run.entries("ingest").values()} == {Reason.MEDIA_UNREADABLE}
    result = dispose("pose", run.layout.root, "--shard", shard, "--attempt", 0)
    assert result.exit_code == 2


def test_stage_commands_name_an_unknown_shard(tmp_path):
    """The missing file is in the message."""
    run = plan_run(tmp_path)
    with pytest.raises(StoreError, match=r"plan/pose/7-of-8\.json"):
        dispose("pose", run.layout.root, "--shard", "7-of-8")


def test_fingerprint_names_missing_checkpoints(tmp_path):
    """Before any digest is computed."""
    run = plan_run(tmp_path)
    with pytest.raises(DisposeError, match="models"):
        dispose("fingerprint", run.layout.root)


def test_weights_list_names_every_file_and_its_publisher():
    """What a user has to fetch, without any file being there."""
    output = dispose("weights", "list").output
    for name in ("MimicMotion_1-1.pth", "DisPose.pth", "dwpose/yolox_l.onnx", "huggingface.co"):
        assert name in output


def test_weights_check_lists_what_is_missing(tmp_path):
    """All files at once."""
    with pytest.raises(DisposeError) as caught:
        dispose("weights", "check", "--root", tmp_path)
    for name in ("MimicMotion_1-1.pth", "DisPose.pth", "yolox_l.onnx"):
        assert name in str(caught.value)


def test_json_of_a_run_is_untouched_by_looking(run):
    """status, inspect and gc write nothing."""
    before = {p: p.stat().st_mtime_ns for p in run.layout.root.rglob("*")}
    dispose("status", run.layout.root)
    dispose("inspect", run.layout.root, "i0_v0")
    dispose("gc", run.layout.root)
    assert {p: p.stat().st_mtime_ns for p in run.layout.root.rglob("*")} == before
    assert json.loads(run.layout.config.read_text())["run"] == "demo"


def test_bad_settings_are_explained(tmp_path):
    """`--set` takes key=value."""
    config = tmp_path / "config.yaml"
    config.write_text("run: x\n")
    for setting, words in (("seed", "expected key=value"), ("=3", "expected key=value")):
        with pytest.raises(ConfigError, match=words):
            dispose("run", "--config", config, "--set", setting)
