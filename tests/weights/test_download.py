"""Checkpoints from a hub on this machine: whole files or a clear word, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from dispose_stages.cli import cli
from dispose_stages.errors import DisposeError
from dispose_stages.weights import download, layout, verification
from dispose_stages.weights.verification import problems_of
from tests.weights.fake_hub import Hub, serving, sha256

REPOSITORY = Path(__file__).parents[2]
SMALL = REPOSITORY / "bundles/small"
DWPOSE = "yzd-v/DWPose"
SVD = f"stabilityai/{layout.SVD}"


def _shrunk(file: layout.CheckpointFile) -> layout.CheckpointFile:
    """The entry as it would be if the small bundle were what is published."""
    places = tuple(replace(p, size=None, at_least=1, sha256="") for p in file.places)
    return replace(file, places=places, mark_shape=())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """A hub that publishes the small bundle's files in the real repositories."""
    files = tuple(_shrunk(file) for file in layout.FILES)
    for module in (layout, verification):
        monkeypatch.setattr(module, "FILES", files)
    content = {}
    for file in files:
        place = next(p for p in file.places if (SMALL / p.path).exists())
        content[file.repository, file.published_path(place)] = (SMALL / place.path).read_bytes()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    # What is on its way when the connection breaks is lost, up to so many bytes.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    with serving(Hub(content)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def run(root: Path, *arguments: str) -> str:
    """The command's output; its error is raised."""
    done = CliRunner().invoke(
        cli, ["weights", "download", "--root", str(root), *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.output


def refusal(root: Path, *arguments: str) -> str:
    """Its error."""
    with pytest.raises(DisposeError) as caught:
        run(root, *arguments)
    return str(caught.value)


def test_everything_comes_and_is_noted(hub: Hub, tmp_path: Path) -> None:
    """All files in their places, with the digests the hub states, and nothing asked twice."""
    output = run(tmp_path)
    assert f"{len(layout.FILES)} files, 0.04 GB to fetch" in output
    assert "GB free" in output
    assert problems_of(tmp_path) == []
    notes = download.read_notes(tmp_path)
    assert len(notes) == len(layout.FILES)
    for name, noted in notes.items():
        assert noted["sha256"] == sha256((tmp_path / name).read_bytes())
        assert hub.files[noted["repository"], noted["path"]] == (tmp_path / name).read_bytes()
    assert not (tmp_path / ".downloads").exists()
    hub.requests.clear()
    assert "all files are there" in run(tmp_path)
    assert hub.requests == []


def test_a_stage_brings_its_files_only(hub: Hub, tmp_path: Path) -> None:
    """Pose needs two ONNX files."""
    run(tmp_path, "--stage", "pose")
    files = {p.name for p in tmp_path.rglob("*.*") if p.is_file()}
    assert files == {"yolox_l.onnx", "dw-ll_ucoco_384.onnx", "downloads.json"}


def test_a_broken_connection_is_taken_up_within_a_run(hub: Hub, tmp_path: Path) -> None:
    """What has come is not fetched again."""
    hub.cuts["yolox_l.onnx"] = [100_000, 50_000]
    run(tmp_path, "--stage", "pose")
    assert hub.sent("yolox_l.onnx") == ["", "bytes=100000-", "bytes=150000-"]
    assert problems_of(tmp_path, ["pose"]) == []


def test_a_later_command_goes_on_where_one_was_cut(hub: Hub, tmp_path: Path) -> None:
    """The library gives up after some attempts; the next command begins at the last byte."""
    hub.cuts["yolox_l.onnx"] = [60_000, *[0] * 6]
    message = refusal(tmp_path, "--stage", "pose")
    assert "127.0.0.1" in message
    assert "by hand" in message
    assert not (tmp_path / layout.DETECTOR).exists()
    hub.cuts.clear()
    hub.requests.clear()
    run(tmp_path, "--stage", "pose")
    assert hub.sent("yolox_l.onnx") == ["bytes=60000-"]
    assert problems_of(tmp_path, ["pose"]) == []


@pytest.mark.parametrize(
    "path", ["dw-ll_ucoco_384.onnx", "feature_extractor/preprocessor_config.json"]
)
def test_other_content_than_stated_is_thrown_away(hub: Hub, tmp_path: Path, path: str) -> None:
    """A flipped byte under the right size; large files and small ones; the others come."""
    content = next(c for (_, p), c in hub.files.items() if p == path)
    hub.lies[path] = bytes([content[0] ^ 1]) + content[1:]
    assert "not what the hub states" in refusal(tmp_path)
    problems = problems_of(tmp_path)
    assert {problem.reason for problem in problems} == {"missing"}
    assert {Path(problem.file.name).name for problem in problems} == {Path(path).name}
    hub.lies.clear()
    run(tmp_path)
    assert problems_of(tmp_path) == []


def test_a_file_is_the_same_when_it_comes_again(hub: Hub, tmp_path: Path) -> None:
    """A publisher who changes a file is noticed before a byte of it has come."""
    run(tmp_path, "--stage", "pose")
    (tmp_path / layout.DETECTOR).unlink()
    hub.files[DWPOSE, "yolox_l.onnx"] += b"more"
    message = refusal(tmp_path, "--stage", "pose")
    assert "downloads.json notes" in message
    assert "the publisher has changed it" in message
    assert hub.sent("yolox_l.onnx") == []


def test_pinned_digests_hold_through_a_mirror(hub: Hub, tmp_path: Path) -> None:
    """`HF_ENDPOINT` leads to a mirror whose file is not the published one: refused unseen."""
    program = (
        "import sys; from dispose_stages.cli import main;"
        f"main(['weights', 'download', '--root', {str(tmp_path)!r}, '--stage', 'pose'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HF_ENDPOINT": hub.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "this program knows 7860ae79de6c89a3" in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.sent("yolox_l.onnx") == []


def test_a_token_is_for_the_hub_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage that it redirects to never sees it."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run(tmp_path, "--stage", "pose")
    asked = {(path.startswith("/storage"), token) for _, path, _, token in hub.requests}
    assert asked == {(False, "Bearer hf_secret"), (True, "")}


def test_a_licence_is_said_with_its_page_and_stops_nothing_else(hub: Hub, tmp_path: Path) -> None:
    """All open repositories come; the gated one is asked once and first."""
    hub.gated.add(SVD)
    message = refusal(tmp_path)
    assert f"{hub.url}/{SVD} asks for consent to its licence" in message
    assert "HF_TOKEN" in message
    assert {p.file.repository for p in problems_of(tmp_path)} == {SVD}
    resolved = [path for method, path, _, _ in hub.requests if "/resolve/" in path]
    assert SVD in resolved[0]
    assert len([path for path in resolved if SVD in path]) == 1
    for problem in problems_of(tmp_path):
        assert str(problem.path) in message


def test_no_network_says_how_to_do_it_by_hand(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file with its page and its place."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refusal(tmp_path, "--stage", "pose")
    assert "http://127.0.0.1:9 cannot be reached" in message
    target = tmp_path / layout.DETECTOR
    assert f"huggingface.co/{DWPOSE}/resolve/main/yolox_l.onnx -> {target}" in message
    assert "--from" in message


@pytest.mark.parametrize("what", ["down", "absent", "lacking"])
def test_a_hub_that_does_not_give_is_named(hub: Hub, tmp_path: Path, what: str) -> None:
    """Out of order, without the repository, or without the file."""
    if what == "down":
        hub.down = True
    else:
        hub.files = {key: c for key, c in hub.files.items() if "yolox" not in key[1]}
        if what == "absent":
            hub.files = {key: c for key, c in hub.files.items() if key[0] != DWPOSE}
    word = {"down": "answers 503", "absent": "no such repository", "lacking": "has no file"}[what]
    assert word in refusal(tmp_path, "--stage", "pose")


def test_what_cannot_fit_is_not_begun(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are compared with the free space first."""
    monkeypatch.setattr(download, "free_space", lambda _root: 1_000_000)
    assert "make room" in refusal(tmp_path, "--stage", "pose")
    assert not any("/resolve/" in path for _, path, _, _ in hub.requests)


def test_a_disk_that_fills_up_keeps_what_came(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system itself refuses to write on; the next command goes on there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    real = download.fetch

    def on_a_full_disk(published, part, bar):
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        try:
            real(published, part, bar)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(download, "fetch", on_a_full_disk)
    assert "no room is left; what has come is kept" in refusal(tmp_path, "--stage", "pose")
    kept = {path.stat().st_size for path in (tmp_path / ".downloads").iterdir()}
    assert kept == {150_000}
    monkeypatch.setattr(download, "fetch", real)
    run(tmp_path, "--stage", "pose")
    assert hub.sent("yolox_l.onnx")[-1] == "bytes=150000-"
    assert problems_of(tmp_path, ["pose"]) == []


def test_a_folder_that_cannot_be_written_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system's reason."""

    def denied(_published, _part, _bar):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(download, "fetch", denied)
    assert "Read-only file system" in refusal(tmp_path, "--stage", "pose")


def test_a_second_process_leaves_a_begun_file_alone(hub: Hub, tmp_path: Path) -> None:
    """Both would append to it."""
    digest = sha256(hub.files[DWPOSE, "yolox_l.onnx"])
    part = tmp_path / f".downloads/{digest}.part"
    part.parent.mkdir()
    with part.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "another process is bringing this file" in refusal(tmp_path, "--stage", "pose")
    run(tmp_path, "--stage", "pose")


def test_more_than_was_stated_is_begun_anew(hub: Hub, tmp_path: Path) -> None:
    """What a broken server has left is not built upon."""
    content = hub.files[DWPOSE, "yolox_l.onnx"]
    part = tmp_path / f".downloads/{sha256(content)}.part"
    part.parent.mkdir()
    part.write_bytes(content + b"more")
    run(tmp_path, "--stage", "pose")
    assert problems_of(tmp_path, ["pose"]) == []


def test_a_stated_digest_is_a_digest(hub: Hub, tmp_path: Path) -> None:
    """Files are named after it, so it names no other folder."""
    hub.stated = "../../../escaped"
    assert "states no digest" in refusal(tmp_path, "--stage", "pose")
    assert not list(tmp_path.parent.rglob("*escaped*"))


def test_a_line_a_minute_where_nobody_watches(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log shows that gigabytes are on their way."""
    monkeypatch.setattr("dispose_stages.cli.weights_download._MINUTE", 0.0)
    lines = [line.strip() for line in run(tmp_path, "--stage", "sample").splitlines()]
    said = [line for line in lines if line.endswith("of 18 MB")]
    assert said[-1] == "18 of 18 MB"
    assert len(said) > 10


def test_a_wrong_file_is_replaced_and_kept(hub: Hub, tmp_path: Path) -> None:
    """A pointer in the place of a file is said, set aside and made good."""
    target = tmp_path / layout.DETECTOR
    target.parent.mkdir()
    target.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    output = run(tmp_path, "--stage", "pose")
    assert "a pointer of Git LFS" in output
    assert target.with_name("yolox_l.onnx.replaced").read_text().startswith("version")
    assert problems_of(tmp_path, ["pose"]) == []


def test_damaged_notes_are_named(hub: Hub, tmp_path: Path) -> None:
    """Digests are never forgotten silently."""
    run(tmp_path, "--stage", "motion")
    notes = tmp_path / "downloads.json"
    notes.write_text(notes.read_text().replace("motion", "notion").replace("MOFA", "MOFO"))
    assert "downloads.json" in refusal(tmp_path, "--stage", "pose")


@pytest.mark.parametrize("form", ["ours", "clones", "cache"])
def test_files_of_another_folder_are_linked(hub: Hub, tmp_path: Path, form: str) -> None:
    """This program's layout, copies of the repositories, or the library's cache; no copies."""
    folder = tmp_path / "elsewhere"
    for (repository, path), content in hub.files.items():
        owner, name = repository.split("/")
        base = {
            "ours": name,
            "clones": f"{owner}/{name}",
            "cache": f"models--{owner}--{name}/snapshots/0123",
        }[form]
        (folder / base / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / base / path).write_bytes(content)
    root = tmp_path / "models"
    run(root, "--from", str(folder))
    assert problems_of(root) == []
    links = [path for path in root.rglob("*") if path.is_file()]
    assert len(links) == len(layout.FILES)
    assert all(path.is_symlink() for path in links)
    assert hub.requests == []


def test_what_a_folder_lacks_or_has_wrong_is_listed(hub: Hub, tmp_path: Path) -> None:
    """The rest is linked."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "DWPose").mkdir()
    (folder / "DWPose/yolox_l.onnx").write_bytes(hub.files[DWPOSE, "yolox_l.onnx"])
    (folder / "DWPose/dw-ll_ucoco_384.onnx").write_text("<!DOCTYPE html><html>sign in</html>")
    message = refusal(
        tmp_path / "models", "--from", str(folder), "--stage", "pose", "--stage", "motion"
    )
    assert "a web page" in message
    assert f"{layout.CMP}: not in {folder}" in message
    assert (tmp_path / "models/DWPose/yolox_l.onnx").is_symlink()


@pytest.mark.parametrize(("bundle", "word"), [("small", "comes with"), ("tiny", "make-tiny")])
def test_other_bundles_are_not_published(tmp_path: Path, bundle: str, word: str) -> None:
    """Where they come from instead."""
    assert word in refusal(tmp_path, "--bundle", bundle)


def test_a_folder_of_another_bundle_is_left_alone(hub: Hub) -> None:
    """Published weights never mix with others."""
    assert "holds the bundle 'small'" in refusal(SMALL)
