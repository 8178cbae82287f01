from __future__ import annotations

from pathlib import Path

import pytest

from dispose_stages.errors import StoreError
from dispose_stages.store.shelf import Video, VideoShelf

KEY, OTHER = "ab" * 20, "cd" * 20


def stage(shelf: VideoShelf, content: bytes, key: str = KEY, *, png: bool = False) -> Video:
    """A staged file with any content."""
    path = shelf.staging("pair.1", key, ".mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    folder = None
    if png:
        folder = shelf.staging("pair.1", key, ".frames")
        folder.mkdir()
        (folder / "00000.png").write_bytes(b"png")
    return Video(path, frames=7, height=64, width=96, fps=15.0, frames_folder=folder)


def test_a_delivered_video_is_found_by_its_key(tmp_path: Path) -> None:
    """Size, digest and provenance come from the sidecar; another key finds nothing."""
    shelf = VideoShelf(tmp_path / "videos")
    assert shelf.find("pair.1", KEY) is None
    delivered = shelf.commit("pair.1", KEY, stage(shelf, b"video"), {"unit": "pair.1"})
    assert shelf.find("pair.1", KEY) == delivered == shelf.find("pair.1")
    assert delivered.path.read_bytes() == b"video"
    assert (delivered.frames, delivered.size_bytes) == (7, 5)
    assert shelf.digest("pair.1", KEY) == delivered.digest
    assert shelf.digest("pair.1", OTHER) is None
    assert sorted(path.name for path in shelf.folder.iterdir()) == [
        ".staging",
        "pair.1.json",
        "pair.1.mp4",
    ]
    assert not list((shelf.folder / ".staging").iterdir())


@pytest.mark.parametrize("damage", ["truncate", "delete", "sidecar", "older"])
def test_damage_counts_as_absent(tmp_path: Path, damage: str) -> None:
    """A cut or missing video, or a sidecar that cannot be used, means: make it again."""
    shelf = VideoShelf(tmp_path)
    path = shelf.commit("pair.1", KEY, stage(shelf, b"video"), {}).path
    if damage == "truncate":
        path.write_bytes(b"vid")
    elif damage == "delete":
        path.unlink()
    elif damage == "sidecar":
        shelf.sidecar("pair.1").write_text("{")
    else:
        text = shelf.sidecar("pair.1").read_text()
        shelf.sidecar("pair.1").write_text(text.replace('_version": 1', '_version": 0'))
    assert shelf.find("pair.1", KEY) is None
    assert shelf.commit("pair.1", KEY, stage(shelf, b"again"), {}).size_bytes == 5


def test_a_new_video_replaces_the_old_one_and_its_frames(tmp_path: Path) -> None:
    """Neither an old container nor old PNG frames stay behind."""
    shelf = VideoShelf(tmp_path)
    shelf.commit("pair.1", KEY, stage(shelf, b"old", png=True), {})
    assert (tmp_path / "pair.1.frames" / "00000.png").exists()
    staged = stage(shelf, b"new", OTHER)
    shelf.commit("pair.1", OTHER, staged, {}, container="mkv")
    assert shelf.find("pair.1", KEY) is None
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".staging", "pair.1.json", "pair.1.mkv"]


def test_lost_png_frames_are_noticed(tmp_path: Path) -> None:
    """A video whose frames folder is gone is made again."""
    shelf = VideoShelf(tmp_path)
    shelf.commit("pair.1", KEY, stage(shelf, b"x", png=True), {})
    assert shelf.find("pair.1", KEY) is not None
    (tmp_path / "pair.1.frames").rename(tmp_path / "elsewhere")
    assert shelf.find("pair.1", KEY) is None


@pytest.mark.parametrize("pair_id", ["../x", "", ".hidden", "a/b", "-rf", "x\n", "x" * 300])
def test_names_cannot_leave_the_folder(tmp_path: Path, pair_id: str) -> None:
    """Ids that are no plain file name are refused."""
    with pytest.raises(StoreError, match="file name"):
        VideoShelf(tmp_path).find(pair_id, KEY)


def test_a_sidecar_cannot_point_elsewhere(tmp_path: Path) -> None:
    """Only the last part of the file name in a sidecar is looked at."""
    shelf = VideoShelf(tmp_path / "videos")
    shelf.commit("pair.1", KEY, stage(shelf, b"video"), {})
    text = shelf.sidecar("pair.1").read_text()
    (tmp_path / "secret").write_bytes(b"12345")
    shelf.sidecar("pair.1").write_text(text.replace('"pair.1.mp4"', '"../secret"'))
    assert shelf.find("pair.1") is None
