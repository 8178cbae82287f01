from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dispose_stages.artifacts import Frame, PoseTrack, Scores
from dispose_stages.errors import DisposeError, ExportError
from dispose_stages.export import plan as planning
from dispose_stages.export import publish as publishing
from dispose_stages.export.about import read_about
from dispose_stages.export.plan import plan_export
from dispose_stages.export.publish import publish
from dispose_stages.export.settings import ExportSettings, Extra, Layout, parse_shares
from dispose_stages.geometry.skeleton import WHOLEBODY_NAMES
from tests.export.finished_run import (
    FRAMES,
    HEIGHT,
    LICENCE,
    WIDTH,
    FinishedRun,
    crossed,
    track,
)

HALVES = {"train": 0.5, "test": 0.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three persons with three dances, and one pair that failed."""
    run = crossed(tmp_path_factory.mktemp("run"), 3, 3, person="the same")
    run.fail("lost")
    run.write()
    return run


def make(run, folder, layout=Layout.WEBDATASET, **settings):
    """Export; returns the data set."""
    settings.setdefault("samples_per_shard", 2)
    plan = plan_export(run.run_dir, ExportSettings(layout=layout, **settings))
    return publish(run.run_dir, plan, folder)


def contents(folder):
    """Every file below a folder and its digest."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def left_out(folder):
    with (folder / "left_out.csv").open(newline="") as stream:
        return [(row["pair_id"], row["reason"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("layout", Layout)
def test_exporting_twice_gives_the_same_bytes(run, tmp_path, monkeypatch, layout):
    """The digests that are written are those of the files, on however many processes."""
    monkeypatch.setattr(publishing, "_WORTH_A_PROCESS", 1)
    folders = [tmp_path / name for name in ("one", "two")]
    settings = ExportSettings(layout, HALVES, samples_per_shard=2, extras=(Extra.FIELD,))
    for workers, folder in enumerate(folders, 1):
        processes = workers if layout is Layout.WEBDATASET else 1  # they are slow to start
        publish(run.run_dir, plan_export(run.run_dir, settings), folder, workers=processes)
    assert contents(folders[0]) == contents(folders[1])
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folders[0], check=True)
    listed = {
        line.split("  ", 1)[1] for line in (folders[0] / "SHA256SUMS").read_text().splitlines()
    }
    assert listed == contents(folders[0]).keys() - {"SHA256SUMS"}


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("layout", Layout)
def test_killed_anywhere_and_continued_gives_the_same_bytes(run, tmp_path, monkeypatch, layout):
    """Finished shards are kept, whatever was under way is made again."""
    make(run, tmp_path / "whole", layout, shares=HALVES)
    whole = contents(tmp_path / "whole")
    folder = tmp_path / "killed"
    read, documents = publishing.SampleReader.read, publishing.write_documents
    budget = 0

    def reading(self, record):
        nonlocal budget
        if budget == 0:
            raise KilledError
        budget -= 1
        return read(self, record)

    def last(*arguments):
        documents(*arguments)
        (folder / "SHA256SUMS").unlink()
        raise KilledError

    monkeypatch.setattr(publishing.SampleReader, "read", reading)
    for samples in (0, 1, 3, 2):
        budget = samples
        with pytest.raises(KilledError):
            make(run, folder, layout, shares=HALVES)
        assert not (folder / "SHA256SUMS").exists()
    monkeypatch.setattr(publishing, "write_documents", last)
    budget = 99
    with pytest.raises(KilledError):
        make(run, folder, layout, shares=HALVES)
    assert budget == 99 - 1, "finished shards are not made again"
    monkeypatch.setattr(publishing, "write_documents", documents)
    # What a process leaves that is killed while it writes:
    (folder / "data/.train-00009.tar.1-0.tmp").write_text("half")
    (folder / "data/.00009.1-0.tmp").mkdir()
    (folder / "data/.00009.1-0.tmp/p.mp4").write_text("half")
    make(run, folder, layout, shares=HALVES)
    assert contents(folder) == whole
    budget = 0
    make(run, folder, layout, shares=HALVES)  # complete: nothing is read
    assert contents(folder) == whole


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    """Of other files, of another export, finished or not."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ExportError, match="not empty"):
        make(run, tmp_path / "mine")
    make(run, tmp_path / "other")
    with pytest.raises(ExportError, match="another data set"):
        make(run, tmp_path / "other", filter="seed == 42 and pair_id != 'p0_0'")
    (tmp_path / "other/SHA256SUMS").unlink()
    with pytest.raises(ExportError, match="not empty"):
        make(run, tmp_path / "other")


def test_a_sample_holds_video_reference_pose_and_record(run, tmp_path):
    """As delivered; reference at the video's size; pose in its pixels; all that is known."""
    extras = (Extra.FIELD, Extra.TRAJECTORIES)
    make(run, tmp_path / "d", shares=HALVES, extras=extras)
    with tarfile.open(next((tmp_path / "d/data").glob("train-*.tar"))) as tar:
        members = tar.getmembers()
        files = {m.name: tar.extractfile(m).read() for m in members}
    assert [m.name for m in members] == sorted(files)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    key = members[0].name.partition(".")[0]
    assert files[f"{key}.mp4"] == (run.layout.videos / f"{key}.mp4").read_bytes()
    assert Image.open(io.BytesIO(files[f"{key}.reference.png"])).size == (WIDTH, HEIGHT)
    pose = np.load(io.BytesIO(files[f"{key}.pose.npz"]))
    assert pose["keypoints"].shape == (FRAMES, 133, 2)
    assert list(pose["names"]) == list(WHOLEBODY_NAMES)
    # Keypoint k of frame f was found at (k / 134, f / 10) in the 134-point order.
    shoulder = WHOLEBODY_NAMES.index("left_shoulder")
    assert pose["keypoints"][2, shoulder] == pytest.approx([5 / 134 * WIDTH, 3 / 10 * HEIGHT])
    assert pose["reference_keypoints"][shoulder] == pytest.approx([5 / 134 * WIDTH, 0])
    assert np.isnan(pose["keypoints"][-1]).all(), "the person was lost in the last frame"
    assert (pose["scores"][-1] == 0).all()
    assert list(pose["frame_indices"]) == [2, 4, 6, 8, 10]
    field = np.load(io.BytesIO(files[f"{key}.field.npz"]))
    assert field["flow"].shape == (FRAMES, 2, 192, 192)
    assert field["scale"] == pytest.approx([WIDTH / 384, HEIGHT / 384])
    tracks = np.load(io.BytesIO(files[f"{key}.trajectories.npz"]))
    assert tracks["points"].shape == (FRAMES + 1, 18, 2)
    assert tracks["visible"][:-1].all()
    record = json.loads(files[f"{key}.json"])
    source = next(r for r in run.records if r["pair_id"] == key)
    for name in ("reference_digest", "video_digest", "key_motion", "caption", "licence", "person"):
        assert record[name] == source[name]
    assert record["synthetic"] is True
    assert record["reference_image"] == Path(source["reference_image"]).name
    assert "torch" in record["libraries"]
    private = ("seconds_", "path_", "output", "status")
    assert not [name for name in record if name.startswith(private)]
    assert str(run.root) not in files[f"{key}.json"].decode()


def test_the_pose_found_again_in_the_video_is_published(tmp_path):
    """Of a scored run: the best detection by name, in pixels, nan where nobody was found."""
    nobody = Frame(np.zeros((1, 134, 2)), np.zeros((1, 134)), np.zeros((1, 4)), np.zeros(1))
    frames = [track(FRAMES)[index] for index in range(FRAMES - 1)] + [nobody]
    found = PoseTrack.from_frames(frames, list(range(FRAMES)), HEIGHT, WIDTH, 0.0)
    nothing = ("{}", (), (), (), (), np.zeros((0, 0)))
    run = FinishedRun(tmp_path)
    keys = [
        run.artifact("score", Scores(*nothing, poses=poses), {}, n)
        for n, poses in enumerate((found, track(FRAMES + 1)))
    ]
    for number, key in enumerate([*keys, "0" * 40, None]):
        run.add(0, number, **LICENCE, key_score_pose=key)
    run.write()
    make(run, tmp_path / "d", samples_per_shard=9)
    assert left_out(tmp_path / "d") == [
        ("p0_1", "video_changed"),
        ("p0_2", "artifact_missing"),
    ]
    with tarfile.open(tmp_path / "d/data/train-00000.tar") as tar:
        poses = [
            dict(np.load(io.BytesIO(tar.extractfile(f"p0_{number}.pose.npz").read())))
            for number in (0, 3)
        ]
    shoulder = list(poses[0]["names"]).index("left_shoulder")
    detected = poses[0]["detected_keypoints"]
    assert detected.shape == (FRAMES, 133, 2)
    assert detected[2, shoulder] == pytest.approx([5 / 134 * WIDTH, 2 / 10 * HEIGHT])
    assert np.isnan(detected[-1]).all()
    assert (poses[0]["detected_scores"][:-1] > 0.8).all()
    assert (poses[0]["detected_scores"][-1] == 0).all()
    assert "detected_keypoints" not in poses[1], "a run without scores looked for none"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The run in every layout."""
    folder = tmp_path_factory.mktemp("exported")
    for layout in Layout:
        make(run, folder / layout, layout, shares=HALVES)
    return folder


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
def test_datasets_loads_it(run, exported, tmp_path, monkeypatch, layout):
    """One line, with splits, videos, images and all columns; the videos are those delivered."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded = datasets.load_dataset(str(exported / layout), cache_dir=str(tmp_path / "cache"))
    samples = pq.read_table(exported / layout / "samples.parquet").to_pylist()
    assert {split: len(rows) for split, rows in loaded.items()} == {
        split: sum(s["split"] == split for s in samples) for split in ("train", "test")
    }
    video, record = ("mp4", "json") if layout is Layout.WEBDATASET else ("video", None)
    features = loaded["train"].features
    assert isinstance(features[video], datasets.Video)
    for split in loaded.values():
        for row in split.cast_column(video, datasets.Video(decode=False)):
            facts = row[record] if record else row
            content = row[video]["bytes"] or Path(row[video]["path"]).read_bytes()
            delivered = (run.layout.videos / f"{facts['pair_id']}.mp4").read_bytes()
            assert content == delivered
            assert facts["caption"].startswith("person")
            assert (facts["frames"], facts["parameter_motion_guidance"]) == (FRAMES, True)
    reference = {Layout.WEBDATASET: "reference.png", Layout.PARQUET: "reference"}.get(layout)
    if reference:
        assert loaded["test"].select_columns([reference])[0][reference].size == (WIDTH, HEIGHT)
    else:
        folder, files = exported / layout / "data/test", ["pose_file", "reference_file"]
        row = loaded["test"].select_columns(files)[0]
        assert all((folder / row[name]).is_file() for name in files)


@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
def test_webdataset_loads_it(run, exported):
    """Shards decode into videos, images, arrays and records."""
    import webdataset

    shards = sorted(map(str, (exported / "webdataset/data").glob("*.tar")))
    rows = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    found = {row["json"]["pair_id"]: row for row in rows}
    samples = pq.read_table(exported / "webdataset/samples.parquet").to_pylist()
    assert found.keys() == {sample["pair_id"] for sample in samples}
    row = next(iter(found.values()))
    assert row["reference.png"].size == (WIDTH, HEIGHT)
    assert row["pose.npz"]["keypoints"].shape == (FRAMES, 133, 2)
    assert row["mp4"] == (run.layout.videos / f"{row['json']['pair_id']}.mp4").read_bytes()


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
def test_mlcroissant_accepts_it_and_loads_its_records(exported, layout):
    """The description is valid, with the Responsible-AI fields; records come through it."""
    import mlcroissant

    dataset = mlcroissant.Dataset(exported / layout / "croissant.json")
    assert not dataset.metadata.issues.errors
    records = list(dataset.records("samples"))
    samples = pq.read_table(exported / layout / "samples.parquet").to_pylist()
    assert [r["samples/pair_id"].decode() for r in records] == [s["pair_id"] for s in samples]
    assert [r["samples/frames"] for r in records] == [FRAMES] * len(samples)
    assert records[0]["samples/parameter_max_frames"] is None
    text = json.loads((exported / layout / "croissant.json").read_text())
    assert "http://mlcommons.org/croissant/RAI/1.0" in text["conformsTo"]
    for name in ("rai:dataBiases", "rai:dataLimitations", "rai:personalSensitiveInformation"):
        assert text[name]
    if layout is Layout.PARQUET:
        videos = {r["videos/key"].decode(): r["videos/video"] for r in dataset.records("videos")}
        by_key = {s["key"]: s["video_digest"] for s in samples}
        assert {k: hashlib.sha256(v).hexdigest() for k, v in videos.items()} == by_key


def test_the_card_says_what_was_left_out_and_why(run, exported):
    """Counts of the card, the list and the data agree; the header names the splits' files."""
    folder = exported / "parquet"
    card = (folder / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "cc-by-4.0"
    assert [s["split"] for s in values["configs"][0]["data_files"]] == ["train", "test"]
    omitted = left_out(folder)
    samples = pq.read_table(folder / "samples.parquet").num_rows
    assert samples + len(omitted) == len(run.records)
    assert ("lost", "not_delivered") in omitted
    between = sum(reason == "between_splits" for _, reason in omitted)
    assert between > 0
    assert f"{samples} of the 10 pairs" in body
    assert f"| `between_splits` | {between} |" in body
    assert "| `not_delivered` | 1 |" in body
    assert "| person" not in body
    assert "No value of `reference_digest`, `driver_digest` is in more than one split." in body
    assert f"- signed: {samples} samples" in body
    assert "| sample | " + "w" * 64 in body


def test_licence_consent_and_source_are_required(tmp_path):
    """Absent columns stop the export, empty cells leave the pair out; both unless allowed."""
    run = FinishedRun(tmp_path)
    run.add(0, 0)
    run.write()
    with pytest.raises(ExportError, match=r"licence, consent, source_url.*--unlicensed-ok"):
        make(run, tmp_path / "d")
    make(run, tmp_path / "d", unlicensed_ok=True)
    card = (tmp_path / "d/README.md").read_text()
    assert "**not stated**: 1 samples" in card
    assert "license_name: not stated" in card
    run.add(1, 0, **LICENCE)
    run.add(1, 1, **{**LICENCE, "consent": None})
    run.add(2, 1, license="mine", consent="yes", source_url="x")
    run.write()
    dataset = make(run, tmp_path / "e")
    assert [record["pair_id"] for record in dataset.records] == ["p1_0", "p2_1"]
    assert left_out(tmp_path / "e") == [("p0_0", "unlicensed"), ("p1_1", "unlicensed")]


def test_filter_takedown_and_the_manifests_own_split(tmp_path):
    """Each pair left out has its reason; pairs of sources taken down are not named."""
    run = FinishedRun(tmp_path)
    rows = [(0, 0, "train"), (0, 1, "test"), (1, 1, "train"), (2, 1, None), (2, 0, "train")]
    for image, video, split in rows:
        run.add(image, video, **LICENCE, split=split, score_pck_010=image / 2)
    run.write()
    gone = frozenset({run.records[2]["reference_digest"]})
    dataset = make(run, tmp_path / "d", takedown=gone, filter="pck_010 <= 1 and seed == 42")
    splits = {record["pair_id"]: record["split"] for record in dataset.records}
    assert splits == {"p0_0": "train", "p0_1": "test", "p2_0": "train"}
    assert left_out(tmp_path / "d") == [("", "taken_down"), ("p2_1", "no_split")]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file())
    assert b"p1_1" not in everything
    assert next(iter(gone)).encode() not in everything
    card = (tmp_path / "d/README.md").read_text()
    assert "**Splits share groups**: 1 of `reference_digest`" in card
    assert "| pck_010 | 3 | 0.3333 | 0 | 0 | 1 |" in card
    run.records[0]["split"] = "../up"
    run.write()
    with pytest.raises(ExportError, match="line 2 of the manifest"):
        make(run, tmp_path / "e")
    with pytest.raises(ExportError, match="no pair is left"):
        make(run, tmp_path / "e", filter="seed == 41")


def test_what_has_gone_since_the_index_is_left_out_with_its_reason(tmp_path):
    """A changed reference, a replaced video, a lost artifact, frames that were not kept."""
    run = crossed(tmp_path, 2, 2)
    run.image(0).write_bytes(run.image(1).read_bytes())
    video = run.layout.videos / "p1_0.mp4"
    video.write_bytes(video.read_bytes()[:-1] + b"x")
    run.store.remove("motion", run.records[3]["key_motion"])
    with pytest.raises(ExportError, match="gone since the index"):
        make(run, tmp_path / "d")
    run.add(3, 3, **LICENCE)
    run.write()
    dataset = make(run, tmp_path / "e", samples_per_shard=1)
    assert [record["pair_id"] for record in dataset.records] == ["p3_3"]
    assert left_out(tmp_path / "e") == [
        ("p0_0", "reference_changed"),
        ("p0_1", "reference_changed"),
        ("p1_0", "video_changed"),
        ("p1_1", "artifact_missing"),
    ]
    assert [p.name for p in (tmp_path / "e/data").iterdir()] == ["train-00004.tar"]
    with pytest.raises(ExportError, match="gone since"):
        make(run, tmp_path / "f", extras=(Extra.FRAMES,), filter="pair_id == 'p3_3'")


def test_lossless_frames_on_demand(tmp_path):
    """They come as one archive of the files that the run kept."""
    run = crossed(tmp_path, 1, 1)
    frames = run.layout.videos / "p0_0.frames"
    frames.mkdir()
    for number in range(FRAMES):
        (frames / f"{number:05d}.png").write_bytes(b"png %d" % number)
    make(run, tmp_path / "d", Layout.VIDEOFOLDER, extras=(Extra.FRAMES,))
    with zipfile.ZipFile(tmp_path / "d/data/train/00000/p0_0.frames.zip") as archive:
        assert archive.namelist() == [f"{n:05d}.png" for n in range(FRAMES)]
        assert archive.read("00003.png") == b"png 3"


def test_names_that_readers_would_misunderstand(tmp_path):
    """Dots in a pair's id, and columns that look like media or like those of the data set."""
    run = FinishedRun(tmp_path)
    own = {"original_file_name": "a.mov", "key": "k", "video": "v", "synthetic": "no"}
    run.add(0, 0, "a.b", **LICENCE, **own)
    run.add(0, 1, "a_b", **LICENCE, **own)
    run.write()
    for layout in Layout:
        dataset = make(run, tmp_path / layout, layout)
        assert [record["key"] for record in dataset.records] == ["a%2Eb", "a_b"]
        record = dataset.records[0]
        assert (record["original_filename"], record["manifest_key"]) == ("a.mov", "k")
        assert (record["manifest_video"], record["manifest_synthetic"]) == ("v", "no")
        assert record["synthetic"] is True
    assert (tmp_path / "videofolder/data/train/00000/a%2Eb.mp4").is_file()


def test_lists_of_the_index_become_texts(tmp_path):
    """Of no value, one, or several; the filter can ask for them."""
    run = FinishedRun(tmp_path)
    for number, warnings in enumerate(([], ["lost"], ["lost", "poor"])):
        run.add(number, 0, **LICENCE, warnings=warnings)
    run.write()
    dataset = make(run, tmp_path / "d", filter="'lost' in warnings or warnings == ''")
    assert [record["warnings"] for record in dataset.records] == ["", "lost", "lost, poor"]
    assert len(make(run, tmp_path / "e", filter="'poor' in warnings").records) == 1


def test_the_hubs_limits_are_kept(run, tmp_path, monkeypatch):
    """Neither too many files in all nor in one folder; what to do instead is said."""
    monkeypatch.setattr(planning, "MAX_FILES", 30)
    with pytest.raises(ExportError, match="use webdataset or parquet"):
        make(run, tmp_path / "d", Layout.VIDEOFOLDER)
    monkeypatch.setattr(planning, "MAX_FILES", 100)
    monkeypatch.setattr(planning, "MAX_FILES_PER_FOLDER", 14)
    with pytest.raises(ExportError, match="more samples per shard"):
        make(run, tmp_path / "d", samples_per_shard=1)
    with pytest.raises(ExportError, match="fewer samples per shard"):
        make(run, tmp_path / "d", Layout.VIDEOFOLDER, samples_per_shard=3)


def test_shards_end_at_a_number_of_samples_or_bytes(run):
    """A sample larger than a shard has one of its own."""
    by_number = plan_export(run.run_dir, ExportSettings(Layout.PARQUET, samples_per_shard=4))
    assert [len(shard.records) for shard in by_number.shards] == [4, 4, 1]
    by_size = plan_export(run.run_dir, ExportSettings(Layout.PARQUET, bytes_per_shard=1))
    assert [len(shard.records) for shard in by_size.shards] == [1] * 9


def test_shares_are_checked():
    """Positive numbers that add up to one."""
    assert parse_shares("0.8/0.1/0.1") == {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert list(parse_shares("0.9/0.1")) == ["train", "test"]
    for wrong in ("0.8/0.1", "1/0", "a/b", "0.25/0.25/0.25/0.25", "", "nan/nan", "1.5/-0.5"):
        with pytest.raises(ExportError, match="--split"):
            parse_shares(wrong)


def test_videos_that_no_row_owns_are_refused(tmp_path):
    """Before anything is written, with the command that moves them away."""
    run = crossed(tmp_path, 1, 1)
    run.write()
    (run.layout.videos / "nobody.mp4").write_bytes(b"video")
    with pytest.raises(ExportError, match=r"nobody.*gc --videos"):
        plan_export(run.run_dir, ExportSettings(layout=Layout.WEBDATASET))


def test_an_index_of_another_version_is_refused(run, tmp_path):
    """As is none at all; what writes it is said."""
    table = pq.read_table(run.layout.index)
    other = FinishedRun(tmp_path)
    with pytest.raises(DisposeError, match="dispose report"):
        make(other, tmp_path / "d")
    pq.write_table(table.replace_schema_metadata({"format": "dispose-index"}), other.layout.index)
    with pytest.raises(ExportError, match="another version"):
        make(other, tmp_path / "d")


def test_what_the_user_says_about_the_data_set(run, tmp_path):
    """It stands in card and description; a misspelt entry is an error with a suggestion."""
    about = tmp_path / "about.yaml"
    about.write_text(
        "name: Dances\nlicence: my licence\ncreators: [A, B]\ndate_published: 2026-01-02\n"
    )
    make(run, tmp_path / "d", about=read_about(about))
    card = (tmp_path / "d/README.md").read_text()
    assert "# Dances\n" in card
    assert "license: other\nlicense_name: my licence\n" in card
    description = json.loads((tmp_path / "d/croissant.json").read_text())
    assert (description["name"], description["license"]) == ("Dances", "my licence")
    assert [creator["name"] for creator in description["creator"]] == ["A", "B"]
    assert description["datePublished"].startswith("2026-01-02")
    about.write_text("creator: [A]\n")
    with pytest.raises(ExportError, match="did you mean `creators`"):
        read_about(about)
    about.write_text("- a\n")
    with pytest.raises(DisposeError, match="expected keys and values"):
        read_about(about)
