"""A stage reads what ingest saw, or says that it does not."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.unit import Status
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.files import FileState, check_file, file_digest
from dispose_stages.store.media import probe_media, read_image
from dispose_stages.store.sources import ContentMemory, unchanged
from dispose_stages.store.video import VideoReader
from tests.store.clips import write_clip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of eight bytes."""
    path = tmp_path / "source.bin"
    path.write_bytes(b"original")
    return path


@pytest.fixture
def memory(tmp_path: Path) -> ContentMemory:
    """Nothing is known yet."""
    return ContentMemory(tmp_path / "memory")


def facts_of(path: Path) -> dict[str, object]:
    """What ingest says of a file."""
    return {"digest": file_digest(path), "size_bytes": path.stat().st_size}


def read(path: Path, facts: dict[str, object], memory: ContentMemory) -> bytes:
    """The content, held to be what ingest saw."""
    with unchanged({"media": path}, {"media": facts}, memory):
        return path.read_bytes()


def longer(path: Path) -> None:
    path.write_bytes(b"original and more")


def same_size(path: Path) -> None:
    path.write_bytes(b"replaced")


def same_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"replaced")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def another_file_of_the_same_time(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"replaced")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def link_elsewhere(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"replaced")
    path.unlink()
    path.symlink_to(other)


CHANGES = [longer, same_size, same_size_and_time, another_file_of_the_same_time, link_elsewhere]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("known", [False, True])
def test_a_replaced_source_is_noticed(
    source: Path, memory: ContentMemory, change, known: bool
) -> None:
    """By size, by time, or by its digest; whether or not its digest was known."""
    facts = facts_of(source)
    if known:
        assert read(source, facts, memory) == b"original"
    change(source)
    with pytest.raises(UnitError, match="the same command looks at it again") as caught:
        read(source, facts, memory)
    assert caught.value.reason is Reason.SOURCE_CHANGED


def test_a_touched_or_copied_source_is_the_same(source: Path, memory: ContentMemory) -> None:
    """Content counts."""
    facts = facts_of(source)
    os.utime(source, (1, 1))
    assert read(source, facts, memory) == b"original"
    shutil.copy(source, source.with_name("copy"))
    source.with_name("copy").replace(source)
    assert read(source, facts, memory) == b"original"


def disturbed(source: Path, facts, memory: ContentMemory, change, error: UnitError | None) -> None:
    """A reading during which the source changes."""
    with unchanged({"media": source}, {"media": facts}, memory):
        change(source)
        if error is not None:
            raise error


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_it_is_read(source: Path, memory: ContentMemory, change) -> None:
    """Also where reading fails because of it."""
    facts = facts_of(source)
    for error in (None, UnitError(Reason.MEDIA_UNREADABLE, "half of it is missing")):
        source.unlink()
        source.write_bytes(b"original")
        with pytest.raises(UnitError) as caught:
            disturbed(source, facts, memory, change, error)
        assert caught.value.reason is Reason.SOURCE_CHANGED


def test_a_digest_is_taken_once(source: Path, memory: ContentMemory, monkeypatch) -> None:
    """As long as the file's state stays."""
    facts = facts_of(source)
    read(source, facts, memory)
    monkeypatch.setattr("dispose_stages.store.sources.file_digest", lambda _: pytest.fail("again"))
    read(source, facts, memory)


def test_a_damaged_memory_is_not_believed(source: Path, memory: ContentMemory) -> None:
    """It may be deleted or damaged at any time."""
    facts = facts_of(source)
    read(source, facts, memory)
    state = FileState.of(source)
    assert state is not None
    for content in ("", "{", '{"format": "dispose-content"}', '{"format": "x", "digest": "y"}'):
        memory._path(state).write_text(content)
        assert read(source, facts, memory) == b"original"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty" if Path("/dev/tty").exists() else "/dev/null")


def circle(path: Path) -> None:
    path.symlink_to(path)


def wider_circle(path: Path) -> None:
    path.with_name("b").symlink_to(path)
    path.symlink_to(path.with_name("b"))


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    "make", [pipe, folder, device, terminal, circle, wider_circle, link_to_a_pipe, listening]
)
def test_what_is_no_file_is_never_opened(tmp_path: Path, monkeypatch, make) -> None:
    """Neither as an image nor as a video nor as whatever it is: an error, at once."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.mp4"
    make(path)
    for look in (check_file, read_image, VideoReader, probe_media):
        with pytest.raises(UnitError) as caught:
            look(path)
        assert caught.value.reason is Reason.MEDIA_UNREADABLE
        assert str(path) in str(caught.value)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """As if there were no file."""
    path = tmp_path / "x.png"
    path.symlink_to(tmp_path / "nowhere")
    for bad in (path, tmp_path / "a\0b", tmp_path / "x.png" / "y", tmp_path / ("n" * 300)):
        with pytest.raises(UnitError) as caught:
            check_file(bad)
        assert caught.value.reason in {Reason.MEDIA_MISSING, Reason.MEDIA_UNREADABLE}


@pytest.fixture
def pose_run(tmp_path: Path, monkeypatch):
    """A run whose media were looked at, and a pose stage that counts."""
    from dispose_stages.pose import stage as pose
    from tests.pose import fakes
    from tests.toy_run import plan_run

    run = plan_run(tmp_path)
    for i in range(2):
        picture = np.full((192, 128, 3), 40 * i + 9, np.uint8)
        Image.fromarray(picture).save(tmp_path / "media" / f"i{i}.png")
        write_clip(tmp_path / "media" / f"v{i}.mp4", 6 + i)
    for name in run.plan.shards("ingest"):
        assert perform_shard("ingest", run.layout.root, name) == 0
    networks = fakes.networks()
    monkeypatch.setattr(pose, "load", lambda context: pose.PoseWorker(networks, context))
    return run, pose


def test_nothing_is_computed_under_another_contents_key(pose_run, tmp_path: Path) -> None:
    """A stage whose source was replaced fails for it, and stores nothing."""
    from dataclasses import replace

    run, pose = pose_run
    write_clip(tmp_path / "media" / "v1.mp4", 9)
    stage = replace(pose.STAGE, open=pose.load)
    for name in run.plan.shards("pose"):
        perform_shard("pose", run.layout.root, name, stage=stage)
    labels = {unit.id: unit.label for unit in run.plan.units["pose"].values()}
    results = {labels[unit]: result for unit, result in run.entries("pose").items()}
    changed = {label for label, result in results.items() if result.status is Status.FAILED}
    assert changed == {"v1.mp4"}
    assert results["v1.mp4"].reason is Reason.SOURCE_CHANGED
    stored = {path.name.split(".")[0] for path in (tmp_path / "store" / "pose").rglob("*.zip")}
    assert stored == {r.key for r in results.values() if r.status is Status.DONE}
