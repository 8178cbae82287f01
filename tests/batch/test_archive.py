"""A run somewhere else: whole, checked, and at work there."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispose_stages.atomic import replacing
from dispose_stages.batch import archive as module
from dispose_stages.batch.archive import archive_run
from dispose_stages.batch.index import index_records
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.run_lock import RunBusyError, RunLock
from dispose_stages.batch.verify import Verification
from dispose_stages.cli import cli
from dispose_stages.config_text import read_config_file
from dispose_stages.errors import ConfigError, StoreError
from tests.batch.whole_run import calls, compute, settings


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def relative(folder):
    """Settings as people write them."""
    values = settings(folder)
    return values | {"manifest": "media/pairs.csv", "results": "results", "store": "store"}


def there(monkeypatch, folder):
    monkeypatch.chdir(folder)
    return read_config_file(Path("config.yaml"))


def sums_hold(folder):
    """As anybody would check them."""
    command = ["sha256sum", "--quiet", "--check", "checksums.sha256"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0


def test_a_run_works_where_it_was_archived(work, tmp_path, monkeypatch):
    """The original gone: status, tables and verify work, and nothing is computed again."""
    done = compute(relative(work))
    before = list(index_records(RunOutcomes.read(done.layout.root)))
    _, missing = archive_run(done.layout, tmp_path / "kept")
    assert missing == ()
    assert sums_hold(tmp_path / "kept")
    shutil.rmtree(work)
    values = there(monkeypatch, tmp_path / "kept")
    outcomes = RunOutcomes.read(Path("results/demo"))
    assert str(outcomes.counts()) == "4 of 4 rows delivered"
    assert list(index_records(outcomes)) == before
    damages = Verification(outcomes.layout, repair=True).damages()
    # What stands for videos here is no file with the digest of its sidecar.
    assert [path for path, _ in damages if path.parent != outcomes.layout.videos] == []
    calls()
    compute(values)
    assert [line for line in calls() if not line.startswith("ingest")] == []
    assert read_run_config(outcomes.layout).store.path == "store"


def test_media_from_elsewhere_come_along(work, tmp_path, monkeypatch):
    """Absolute paths: the manifest names the copies, pairs keep their names and their videos."""
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    values = settings(elsewhere) | {"results": str(work / "results"), "store": str(work / "store")}
    done = compute(values)
    names = {row.pair_id for row in done.plan.rows}
    archive_run(done.layout, tmp_path / "kept")
    shutil.rmtree(elsewhere)
    shutil.rmtree(work)
    values = there(monkeypatch, tmp_path / "kept")
    calls()
    again = compute(values)
    assert {row.pair_id for row in again.plan.rows} == names
    assert {line.split()[0] for line in calls()} == {"ingest"}
    assert all(Path(row.driving_video).is_file() for row in again.plan.rows)


def test_freed_artifacts_are_no_loss(work, tmp_path, monkeypatch):
    """A run that keeps its videos only is archived as it is, and delivered there."""
    values = relative(work) | {"store": {"path": "store", "keep": "videos"}}
    done = compute(values)
    for path in Path("store").glob("*/*/*.zarr.zip"):
        path.unlink()
    compute(values)
    archive_run(done.layout, tmp_path / "kept")
    there_values = there(monkeypatch, tmp_path / "kept")
    calls()
    compute(there_values)
    assert [line for line in calls() if not line.startswith("ingest")] == []


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_copy_that_was_killed_goes_on(work, tmp_path, monkeypatch, cut):
    """No half file has a name, the original is as it was, and only what is left is copied."""
    done = compute(relative(work))
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    copies = []

    class Interrupted(BaseException):
        pass

    def dying(path):
        copies.append(path)
        if len(copies) == cut:
            raise Interrupted
        return replacing(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "replacing", dying)
        with pytest.raises(Interrupted):
            archive_run(done.layout, tmp_path / "kept")
        assert not (tmp_path / "kept/checksums.sha256").exists()
        copies[:] = [None] * 1000
        archive_run(done.layout, tmp_path / "kept")
        total = len(copies) - 1000
    fresh, _ = archive_run(done.layout, tmp_path / "other")
    assert total < len(fresh) - (cut - 1) + 1
    assert sums_hold(tmp_path / "kept")
    assert before.items() <= {p: p.read_bytes() for p in work.rglob("*") if p.is_file()}.items()


def test_what_is_gone_is_said(work, tmp_path):
    """A driver that somebody deleted; the rest is archived."""
    done = compute(relative(work))
    (work / "media/x.mp4").unlink()
    command = ["archive", str(done.layout.root), "--to", str(tmp_path / "kept")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "not there any more: media/x.mp4" in result.output


def test_archives_that_cannot_be_made(work, tmp_path):
    """Inside the run itself, of no run, of a run at work, with strangers."""
    done = compute(relative(work))
    with pytest.raises(ConfigError, match="inside the run"):
        archive_run(done.layout, done.layout.root / "copy")
    lock = RunLock(done.layout.run_lock)
    lock.acquire()
    with pytest.raises(RunBusyError):
        archive_run(done.layout, tmp_path / "kept")
    lock.release()
    (done.layout.videos / "nobody.mp4").write_text("video")
    with pytest.raises(StoreError, match="gc --videos"):
        archive_run(done.layout, tmp_path / "kept")
    with pytest.raises(StoreError, match="no planned run"):
        archive_run(type(done.layout)(tmp_path / "none"), tmp_path / "kept")


def test_damage_on_the_way_shows(work, tmp_path):
    """The checksums are those of the copies as they were written."""
    done = compute(relative(work))
    archive_run(done.layout, tmp_path / "kept")
    video = next((tmp_path / "kept/results/demo/videos").glob("*.mp4"))
    video.write_text("other")
    assert not sums_hold(tmp_path / "kept")


def test_an_archive_removes_no_file_of_others(work, tmp_path):
    """What a killed copy left of its own files goes; other hidden files of the folder stay."""
    done = compute(relative(work))
    archive_run(done.layout, tmp_path / "kept")
    left = tmp_path / "kept/results/demo/plan/.pairs.json.7-0123abcd.tmp"
    others = tmp_path / "kept/notes/.letter.odt.7-0123abcd.tmp"
    others.parent.mkdir()
    for path in (left, others):
        path.write_text("half")
    archive_run(done.layout, tmp_path / "kept")
    assert not left.exists()
    assert others.read_text() == "half"
