import hashlib
import json
import os
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.stage import Context
from dispose_stages.batch.unit import Status
from dispose_stages.config import Config
from dispose_stages.errors import Reason, UnitError, WarningCode
from dispose_stages.ingest import stage as module
from dispose_stages.ingest.stage import STAGE
from dispose_stages.store.artifacts import ArtifactStore
from tests.toy_run import compute, plan_run, ready


def write_video(path, frames=5, options=()):
    """A 48 x 32 clip at 10 fps."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-s", "48x32", "-r", "10", "-i", "-", "-c:v", "libx264"]
    command += [*options, path]
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 32, 48, 3), dtype=np.uint8)
    subprocess.run(command, input=pixels.tobytes(), check=True)


@pytest.fixture
def run(tmp_path):
    """Two images and two clips, planned."""
    run = plan_run(tmp_path)
    media = tmp_path / "media"
    for i in range(2):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(media / f"i{i}.png")
        write_video(media / f"v{i}.mp4", frames=5 + i)
    return run


def perform(run):
    for name in run.plan.shards("ingest"):
        assert perform_shard("ingest", run.layout.root, name) == 0
    labels = {unit.id: unit.label for unit in run.plan.units["ingest"].values()}
    return {labels[unit_id]: entry for unit_id, entry in run.entries("ingest").items()}


def test_facts_of_media(run):
    """Later stages read size, length, rate and digest from the ledger."""
    entries = perform(run)
    assert {e.status for e in entries.values()} == {Status.DONE}
    video = entries["v1.mp4"].facts
    assert (video["kind"], video["height"], video["width"]) == ("video", 32, 48)
    assert (video["frames"], video["fps"], video["rotation"]) == (6, 10.0, 0)
    image = entries["i0.png"].facts
    assert (image["kind"], image["height"], image["width"], image["frames"]) == ("image", 20, 30, 1)
    entry = entries["i0.png"]
    assert entry.key == entry.digest == image["digest"]


def test_damaged_videos_are_warned_of(run, tmp_path):
    """Its rows may run as far as it goes, and say so; so does what is remembered of the file."""
    path = tmp_path / "media" / "v0.mp4"
    write_video(path, frames=20, options=["-movflags", "+faststart"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    entries = perform(run)
    assert entries["v0.mp4"].warnings == (WarningCode.DAMAGED_VIDEO,)
    assert {entries[name].warnings for name in ("v1.mp4", "i0.png", "i1.png")} == {()}
    assert perform(run) == entries


def test_files_are_opened_once(run, monkeypatch):
    """A second run knows unchanged files by path, size and time."""
    perform(run)
    monkeypatch.setattr(module, "probe_media", lambda *a, **k: pytest.fail("opened again"))
    perform(run)


def test_a_forced_re_run_opens_files_again(run, monkeypatch):
    """A new stamp makes what is known of the files stale once; the ledger's bytes stay."""
    perform(run)
    (shard,) = run.plan.shards("ingest")
    before = run.layout.ledger("ingest", shard).read_bytes()
    path = run.layout.shard("ingest", shard)
    content = json.loads(path.read_text())
    for unit in content["units"]:
        unit["stamp"] = "again"
    path.write_text(json.dumps(content))
    opened = []
    probe = module.probe_media

    def count(*args, **options):
        opened.append(args)
        return probe(*args, **options)

    monkeypatch.setattr(module, "probe_media", count)
    perform(run)
    perform(run)
    assert len(opened) == 4
    assert run.layout.ledger("ingest", shard).read_bytes() == before


def test_a_touched_file_changes_nothing_downstream(run, tmp_path):
    """It is looked at again, and the ledger's bytes stay the same."""
    perform(run)
    (shard,) = run.plan.shards("ingest")
    before = run.layout.ledger("ingest", shard).read_bytes()
    os.utime(tmp_path / "media" / "v0.mp4", (1, 1))
    perform(run)
    assert run.layout.ledger("ingest", shard).read_bytes() == before


def test_a_changed_file_has_another_digest(run, tmp_path):
    """Whatever hangs on it is computed again."""
    before = perform(run)
    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(tmp_path / "media" / "i0.png")
    after = perform(run)
    changed = {label for label in before if before[label].digest != after[label].digest}
    assert changed == {"i0.png"}


def unreadable(path):
    path.write_bytes(b"this is no media file")


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def absent(path):
    path.unlink()


@pytest.mark.parametrize("name", ["i0.png", "v0.mp4"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (unreadable, Reason.MEDIA_UNREADABLE),
        (truncated, Reason.MEDIA_UNREADABLE),
        (empty, Reason.MEDIA_EMPTY),
        (absent, Reason.MEDIA_MISSING),
    ],
)
def test_a_bad_file_fails_alone_with_its_reason(run, tmp_path, name, damage, reason):
    """All others are fine, and the reason is typed."""
    damage(tmp_path / "media" / name)
    entries = perform(run)
    bad = entries.pop(name)
    assert (bad.status, bad.reason) == (Status.FAILED, reason)
    assert name in bad.message
    assert {e.status for e in entries.values()} == {Status.DONE}


def test_an_image_is_no_driving_video(run, tmp_path):
    """A file is checked as what the manifest says it is."""
    (tmp_path / "media" / "i0.png").replace(tmp_path / "media" / "v0.mp4")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "media" / "i0.png")
    entries = perform(run)
    assert entries["v0.mp4"].status is Status.FAILED
    assert entries["i0.png"].status is Status.DONE


def test_a_file_that_is_still_being_written_is_refused(tmp_path, monkeypatch):
    """Facts of a file that changed meanwhile would belong to no content."""
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    original = module.probe_media

    def slow(path, **options):
        probe = original(path, **options)
        path.write_bytes(path.read_bytes() + b"more")
        return probe

    monkeypatch.setattr(module, "probe_media", slow)
    context = Context(Config(), ArtifactStore(tmp_path / "store"), tmp_path, "cpu", tmp_path)
    unit = ready("ingest", "0" * 40, {"kind": "image"}, {"media": path})
    with pytest.raises(module.UnitError, match="changed while"):
        compute(STAGE.open(context), unit)


def test_a_damaged_memory_is_not_believed(run, tmp_path):
    """The small files may be deleted or damaged at any time."""
    before = perform(run)
    for path in (tmp_path / "store" / "ingest").rglob("*.json"):
        path.write_text("{")
    assert perform(run) == before


def probe(folder, path, **params):
    """What is found of one file."""
    context = Context(Config(), ArtifactStore(folder / "store"), folder, "cpu", folder)
    unit = ready("ingest", "0" * 40, params, {"media": path})
    return STAGE.repository(context).commit(unit, compute(STAGE.open(context), unit))


def test_a_reference_frame_has_to_be_there(tmp_path):
    """The video is looked at; a number beyond its end is the row's fault."""
    write_video(tmp_path / "v.mp4")
    found = probe(tmp_path, tmp_path / "v.mp4", kind="image", reference_frame=4)
    assert found.facts["width"] == 48
    with pytest.raises(UnitError, match="no frame 5, it has 5"):
        probe(tmp_path, tmp_path / "v.mp4", kind="image", reference_frame=5)


def test_weights_are_known_by_their_content(tmp_path):
    """Digest and size; nothing of them is opened."""
    (tmp_path / "w.pth").write_bytes(b"anything")
    found = probe(tmp_path, tmp_path / "w.pth", kind="weights")
    assert found.digest == hashlib.sha256(b"anything").hexdigest()
    assert found.facts["size_bytes"] == 8


def test_results_hang_on_what_is_shown(run, tmp_path):
    """Of a video whose frames were counted before, the digest is another; its facts keep both."""
    plain = perform(run)["v1.mp4"]
    assert plain.digest == plain.key == plain.facts["digest"]
    lying = tmp_path / "lying.mp4"
    (tmp_path / "media" / "v1.mp4").replace(lying)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_hflip", "-i", lying]
    subprocess.run([*command, "-c", "copy", tmp_path / "media" / "v1.mp4"], check=True)
    mirrored = perform(run)["v1.mp4"]
    assert mirrored.key == mirrored.facts["digest"] != mirrored.digest
    assert (mirrored.facts["reader"], mirrored.facts["mirrored"]) == ("av", True)


def test_damage_is_known_before_anything_is_read(run, tmp_path, caplog):
    """The facts count what is missing, and the log says it."""
    path = tmp_path / "media" / "v1.mp4"
    whole = tmp_path / "whole.mp4"
    path.replace(whole)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", whole, "-c", "copy"]
    subprocess.run([*command, "-movflags", "faststart", path], check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    entry = perform(run)["v1.mp4"]
    assert entry.status is Status.DONE
    assert entry.facts["missing_frames"] > 0
    assert entry.facts["first_missing"] + entry.facts["missing_frames"] == 6
    assert f"damaged from frame {entry.facts['first_missing']} of 6 on" in caplog.text
