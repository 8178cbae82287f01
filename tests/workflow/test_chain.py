"""The whole chain with real networks at tiny widths, through real Snakemake."""

import contextlib
import json
import shutil
import tarfile

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dispose_stages.batch.ledger import Ledger
from dispose_stages.cli import cli
from dispose_stages.store.files import file_digest
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import Encoding, VideoWriter
from dispose_stages.training.bundle.tiny import make_tiny
from tests.workflow.conftest import REPOSITORY, make_workspace

PAIRS = {
    "blue_dances": ("reference_blue.png", "driver_dance.mp4"),
    "green_waves": ("reference_green.png", "driver_wave.mp4"),
}
FRAMES = 4
CONFIG = {
    "run": "chain",
    "manifest": "pairs.csv",
    "models": "tiny",
    "parameters": {
        "resolution": 128,
        "max_frames": FRAMES,
        "num_inference_steps": 2,
        "tile_size": 8,
        "tile_overlap": 2,
        "fps": 12,
    },
    "sampling": {"precision": "fp32"},
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A working directory after a complete run, and what the run said."""
    workspace = make_workspace(tmp_path_factory.mktemp("chain"), "-m dispose_stages.cli", CONFIG)
    make_tiny(workspace.root / "models/tiny")
    media = REPOSITORY / "manifests/media"
    rows = [f"{pair},{media / image},{media / video}" for pair, (image, video) in PAIRS.items()]
    header = "pair_id,reference_image,driving_video"
    (workspace.root / "pairs.csv").write_text("\n".join([header, *rows]) + "\n")
    return workspace, workspace.snakemake()


def files_and_times(folder):
    """Every file below a folder and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_pair_is_delivered(chain):
    """The run says what it delivered and where it lies, with a report."""
    workspace, output = chain
    assert "2 of 2 rows delivered" in output, workspace.logs()
    assert "report: results/chain/report.html" in output
    results = workspace.root / "results/chain"
    for name in ("report.html", "failures.csv", "rejects.csv", "index.parquet"):
        assert (results / name).stat().st_size > 0


@pytest.mark.parametrize("pair", PAIRS)
def test_videos_have_the_right_length_size_and_rate(chain, pair):
    """One frame per driving frame (the reference's own is dropped), 9:16, at the given rate."""
    workspace, _ = chain
    with VideoReader(workspace.root / f"results/chain/videos/{pair}.mp4") as video:
        assert (video.frame_count, video.width, video.height) == (FRAMES, 128, 192)
        assert video.fps == pytest.approx(12)


def test_second_run_does_nothing(chain):
    """The same command again finds nothing to do and writes nothing."""
    workspace, _ = chain
    before = files_and_times(workspace.root / "results") | files_and_times(workspace.root / "store")
    assert "Nothing to be done" in workspace.snakemake()
    after = files_and_times(workspace.root / "results") | files_and_times(workspace.root / "store")
    assert after == before


def test_recomputed_stages_come_out_the_same_and_leave_the_rest_alone(chain):
    """A deleted artifact and a forced stage are computed again, to the bit, and nothing else is."""
    workspace, _ = chain
    videos, store = workspace.root / "results/chain/videos", workspace.root / "store"
    ledgers = {
        stage: Ledger.read(workspace.root / f"results/chain/ledger/{stage}/0-of-1.json").units
        for stage in ("motion", "sample")
    }
    before = files_and_times(videos) | files_and_times(store)
    lost = next((store / "motion").rglob("*.zarr.zip"))
    content = lost.read_bytes()
    lost.unlink()
    assert "2 of 2 rows delivered" in workspace.snakemake("-R", "sample")
    assert lost.read_bytes() == content
    after = files_and_times(videos) | files_and_times(store)
    changed = {path for path in after if after[path] != before.get(path)}
    assert {path.relative_to(workspace.root).parts[1] for path in changed} == {"motion", "sample"}
    assert sum("sample" in path.parts for path in changed) == 2
    for stage, units in ledgers.items():
        again = Ledger.read(workspace.root / f"results/chain/ledger/{stage}/0-of-1.json").units
        assert {unit: e.digest for unit, e in again.items()} == {
            unit: e.digest for unit, e in units.items()
        }


def test_the_run_becomes_a_data_set(chain, tmp_path):
    """The index describes the real videos; they are exported with all they have, twice alike."""
    workspace, _ = chain
    run_dir = workspace.root / "results/chain"
    videos = pq.read_table(run_dir / "index.parquet").to_pylist()
    for record in videos:
        path = run_dir / record["output"]
        assert record["video_digest"] == file_digest(path)
        assert (record["frames"], record["width"], record["height"]) == (FRAMES, 128, 192)
        image, video = PAIRS[record["pair_id"]]
        media = REPOSITORY / "manifests/media"
        assert record["reference_digest"] == file_digest(media / image)
        assert record["driver_digest"] == file_digest(media / video)
        assert (workspace.root / "store" / record["path_motion"]).is_file()
        sidecar = json.loads(path.with_suffix(".json").read_text())
        told = {name: record[name] for name in ("reference_digest", "driver_digest")}
        assert told.items() <= sidecar["metadata"].items()
    sums = []
    for name in ("one", "two"):
        command = ["export", str(run_dir), "--to", str(tmp_path / name), "--jobs", "1"]
        command += ["--layout", "webdataset", "--unlicensed-ok", "--with", "trajectories"]
        with contextlib.chdir(workspace.root):
            result = CliRunner().invoke(cli, command)
        assert "2 of 2 pairs exported" in result.output, result.output
        sums.append((tmp_path / name / "SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    with tarfile.open(tmp_path / "one/data/train-00000.tar") as tar:
        names = set(tar.getnames())
    endings = ("json", "mp4", "pose.npz", "reference.png", "trajectories.npz")
    assert names == {f"{pair}.{ending}" for pair in PAIRS for ending in endings}


def reproduce(workspace, video, *arguments, models="models=tiny"):
    """`dispose reproduce` in the folder of the run, with as many threads as its jobs had."""
    settings = [models, "compute.device=cpu", "compute.threads=2"]
    given = [word for setting in settings for word in ("--set", setting)]
    command = [workspace.python, "-m", "dispose_stages.cli", "reproduce", video]
    return workspace.call([*command, *given, *arguments])


@pytest.fixture(scope="module")
def alone(chain, tmp_path_factory):
    """A delivered video and its sidecar, away from manifest, plan and store."""
    workspace, _ = chain
    folder = tmp_path_factory.mktemp("alone")
    for ending in ("mp4", "json"):
        name = f"blue_dances.{ending}"
        shutil.copy(workspace.root / "results/chain/videos" / name, folder / name)
    return folder / "blue_dances.mp4"


def test_a_video_is_made_again_from_its_sidecar_alone(chain, alone, tmp_path):
    """The media are found by what they hold, under any name; every stage comes to its bytes."""
    workspace, _ = chain
    media = tmp_path / "media"
    media.mkdir()
    for number, name in enumerate(PAIRS["blue_dances"]):
        shutil.copy(REPOSITORY / "manifests/media" / name, media / f"renamed{number}")
    result = reproduce(workspace, alone, "--media", media, "--to", tmp_path / "again")
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("same bytes") == 9, result.stdout
    assert (tmp_path / "again" / alone.name).read_bytes() == alone.read_bytes()
    sidecar = (tmp_path / "again/blue_dances.json").read_text()
    assert json.loads(sidecar) == json.loads(alone.with_suffix(".json").read_text())


def test_a_video_in_its_run_needs_no_media_named(chain, tmp_path):
    """The plan beside it says where they are; checking leaves nothing."""
    workspace, _ = chain
    video = workspace.root / "results/chain/videos/green_waves.mp4"
    before = files_and_times(workspace.root)
    result = reproduce(workspace, video, "--check")
    assert result.returncode == 0, result.stdout
    assert files_and_times(workspace.root) == before


def test_another_video_is_told_by_its_frames(chain, alone, tmp_path):
    """One that was encoded again is near, one that shows something else is not."""
    workspace, _ = chain
    media = ("--media", REPOSITORY / "manifests/media", "--check")
    near, other = tmp_path / "near", tmp_path / "other"
    with VideoReader(alone) as video:
        frames = [frame for _, frame in video.frames(range(video.frame_count))]
    for folder, shown in ((near, frames), (other, [255 - frame for frame in frames])):
        folder.mkdir()
        content = json.loads(alone.with_suffix(".json").read_text())
        path = folder / alone.name
        with VideoWriter(path, shown[0].shape[:2], 12.0, Encoding(preset="ultrafast")) as writer:
            for frame in shown:
                writer.write(frame)
        content |= {"digest": file_digest(path), "size_bytes": path.stat().st_size}
        (folder / "blue_dances.json").write_text(json.dumps(content))
    result = reproduce(workspace, near / alone.name, *media, "--least-psnr", "15")
    assert "near enough" in result.stdout, result.stdout
    assert result.returncode == 0
    result = reproduce(workspace, other / alone.name, *media)
    assert "another video" in result.stdout, result.stdout
    assert result.returncode == 6


def test_other_weights_are_told_from_another_machine(chain, alone):
    """The first stage that parts from the recipe although the same came in."""
    workspace, _ = chain
    make_tiny(workspace.root / "models/seeded", seed=7)
    media, models = REPOSITORY / "manifests/media", "models={bundle: tiny, root: models/seeded}"
    result = reproduce(workspace, alone, "--media", media, "--check", models=models)
    assert "other weights, or another revision of the stage" in result.stdout, result.stdout
    assert result.returncode == 6, result.stdout


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("no media", "name them with --media"),
        ("no recipe", "does not say all"),
        ("no sidecar", "no delivered video with its sidecar"),
        ("bundle", "made with the bundle 'tiny'"),
    ],
)
def test_what_cannot_be_made_again(chain, alone, tmp_path, damage, what):
    """One line, before anything is computed."""
    workspace, _ = chain
    folder = tmp_path / "videos"
    shutil.copytree(alone.parent, folder)
    sidecar = folder / "blue_dances.json"
    content = json.loads(sidecar.read_text())
    arguments = ["--media", REPOSITORY / "manifests/media"]
    if damage == "no media":
        arguments = []
    if damage == "no recipe":
        content["provenance"]["recipe"] = content["provenance"]["recipe"][-1:]
    sidecar.write_text(json.dumps(content))
    if damage == "no sidecar":
        sidecar.unlink()
    models = "models=small" if damage == "bundle" else "models=tiny"
    result = reproduce(workspace, folder / alone.name, *arguments, models=models)
    assert result.returncode == 1
    assert what in result.stdout, result.stdout
