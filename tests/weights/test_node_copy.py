"""A node's own copy of the checkpoints."""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dispose_stages.config_models import Models
from dispose_stages.errors import WeightsError
from dispose_stages.weights import node_copy
from dispose_stages.weights.digests import DigestCache, stage_digest
from dispose_stages.weights.node_copy import KEPT_DAYS, node_folder
from dispose_stages.weights.verification import stage_files
from tests.workflow.conftest import fake_bundle

STAGE = "sample"


@pytest.fixture
def models(tmp_path):
    """Checkpoints, and a folder on a node's disk."""
    fake_bundle(tmp_path / "models")
    return Models(bundle="tiny", root=str(tmp_path / "models"), cache=str(tmp_path / "disk"))


def content(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in stage_files(root, STAGE)}


def copied(caplog):
    return [r.args[0].name for r in caplog.records if r.msg.startswith("copying")]


def test_a_stage_reads_the_copy(models, tmp_path, caplog):
    """The same files under the same names, with the same digest, copied once, for this user."""
    caplog.set_level(logging.INFO)
    folder = node_folder(models, STAGE)
    assert folder.is_relative_to(tmp_path / "disk")
    assert content(folder) == content(models.folder)
    digests = [
        stage_digest(place, STAGE, DigestCache(tmp_path / f"{place.name}.json"))
        for place in (folder, models.folder)
    ]
    assert digests[0] == digests[1]
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    caplog.clear()
    assert node_folder(models, STAGE) == folder
    assert copied(caplog) == []
    node_folder(models, "mux")  # whose files are among those
    assert copied(caplog) == []


def test_without_a_folder_nothing_is_copied(models):
    """The default."""
    plain = models.model_copy(update={"cache": ""})
    assert node_folder(plain, STAGE) == models.folder


def test_variables_are_the_nodes(models, tmp_path, monkeypatch, caplog):
    """One that is not set means no copy."""
    by_name = models.model_copy(update={"cache": "$NODE_DISK/weights"})
    monkeypatch.delenv("NODE_DISK", raising=False)
    assert node_folder(by_name, STAGE) == models.folder
    assert "a variable in it is not set" in caplog.text
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "other"))
    assert node_folder(by_name, STAGE).is_relative_to(tmp_path / "other/weights")


def test_a_changed_file_is_copied_again(models, caplog):
    """By size and time, as everywhere."""
    folder = node_folder(models, STAGE)
    path = stage_files(models.folder, STAGE)[0]
    path.write_bytes(b"other weights")
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert node_folder(models, STAGE) == folder
    assert copied(caplog) == [path.name]
    assert content(folder) == content(models.folder)


@pytest.mark.parametrize("damage", ["cut", "gone", "record"])
def test_half_a_copy_is_never_used(models, damage):
    """What was cut short, deleted or never recorded is copied again."""
    folder = node_folder(models, STAGE)
    target = stage_files(folder, STAGE)[0]
    if damage == "cut":
        target.write_bytes(b"w")
    elif damage == "gone":
        target.unlink()
    else:
        target.write_bytes(b"WEIGHTS")  # as long as the source
        (folder / "copied.json").write_text("{")
    assert content(node_folder(models, STAGE)) == content(models.folder)


def test_a_killed_copy_leaves_no_file_under_a_name(models, tmp_path):
    """SIGKILL in the middle: the next one starts that file over, and removes what was left."""
    big = stage_files(models.folder, STAGE)[0]
    with big.open("wb") as stream:
        stream.truncate(1 << 30)
    code = (
        "import sys; from dispose_stages.config_models import Models\n"
        "from dispose_stages.weights import node_copy\n"
        "node_copy._BLOCK = 1 << 16\n"
        "node_copy.node_folder(Models(root=sys.argv[1], cache=sys.argv[2]), 'sample')"
    )
    job = subprocess.Popen([sys.executable, "-c", code, models.root, models.cache])
    end = time.monotonic() + 60
    while not (left := list((tmp_path / "disk").rglob("*.tmp"))) and time.monotonic() < end:
        time.sleep(0.02)
    job.kill()
    job.wait()
    assert left
    with big.open("wb") as stream:
        stream.truncate(1 << 20)
    assert not list((tmp_path / "disk").rglob(big.name))
    folder = node_folder(models, STAGE)
    assert content(folder) == content(models.folder)
    assert not list(folder.rglob("*.tmp"))


def test_two_jobs_copy_once(models, tmp_path):
    """The second waits for the first, and finds everything."""
    code = (
        "import logging, sys; from dispose_stages.config_models import Models\n"
        "from dispose_stages.weights.node_copy import node_folder\n"
        "logging.basicConfig(level='INFO', format='%(message)s')\n"
        "print(node_folder(Models(root=sys.argv[1], cache=sys.argv[2]), 'sample'))"
    )
    command = [sys.executable, "-c", code, models.root, models.cache]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen(command, **pipes) for _ in range(3)]
    told = [job.communicate(timeout=120) for job in jobs]
    assert len({out for out, _ in told}) == 1
    copies = sum(err.count("copying ") for _, err in told)
    assert copies == len(stage_files(models.folder, STAGE)) + 1  # and the marker


def test_a_known_digest_is_compared(models, caplog):
    """A file that is not what its digest was taken of is not spread."""
    folder = node_folder(models, STAGE, lambda path: ("name", "0" * 64))
    assert folder == models.folder
    assert "is not the file whose digest is known" in caplog.text


def test_a_disk_that_returns_something_else_is_not_used(models, monkeypatch, caplog):
    """Every copy is read back."""
    monkeypatch.setattr(node_copy, "file_digest", lambda _: "other")
    assert node_folder(models, STAGE) == models.folder
    assert "the copy is not what was copied" in caplog.text


def test_a_full_disk_is_no_failure(models, monkeypatch, caplog):
    """The stage reads its files over the network then."""
    usage = shutil._ntuple_diskusage(100, 100, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert node_folder(models, STAGE) == models.folder
    assert "has no room" in caplog.text


def test_a_folder_that_others_write_is_not_used(models, tmp_path, caplog):
    """Somebody could put any weights there."""
    folder = tmp_path / "disk" / f"dispose-weights-{os.getuid()}"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert node_folder(models, STAGE) == models.folder
    assert "no folder of this user's own" in caplog.text
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert node_folder(models, STAGE) == models.folder


def test_old_copies_go(models, tmp_path):
    """Of other checkpoints, after days without use; one in use, or of late, stays."""
    old, late = node_folder(models, STAGE), tmp_path / "late"
    shutil.copytree(models.root, late)
    recent = node_folder(models.model_copy(update={"root": str(late)}), STAGE)
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    os.utime(old / "used", (long_ago, long_ago))
    third = tmp_path / "third"
    shutil.copytree(models.root, third)
    with node_copy._locked(old, wait=True):
        node_folder(models.model_copy(update={"root": str(third)}), STAGE)
        assert old.exists()
    node_folder(models.model_copy(update={"root": str(third)}), STAGE)
    assert not old.exists()
    assert recent.exists()


def test_a_missing_checkpoint_is_said_as_ever(models):
    """It is no matter of the copy."""
    stage_files(models.folder, STAGE)[0].unlink()
    with pytest.raises(WeightsError, match="not there"):
        node_folder(models, STAGE)
    assert not Path(models.cache).exists()
