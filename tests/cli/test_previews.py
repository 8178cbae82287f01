from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dispose_stages.artifacts import Correspondence, Frame, PoseTrack
from dispose_stages.cli import previews
from dispose_stages.config import Compute, Config, Parameters
from dispose_stages.report.panels import panel_size
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from tests.report.test_panels import field

KEY = "0" * 40
SHOWN, HIDDEN = 0, 5


@pytest.fixture
def pair(tmp_path):
    """A pair whose reference has a pose."""
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "i.png")
    return SimpleNamespace(
        pair_id="p",
        reference_image=str(tmp_path / "i.png"),
        reference_frame=None,
        parameters=Parameters(),
    )


def make(tmp_path, pair, monkeypatch, feature_map, keypoint, motion=None):
    store = ArtifactStore(tmp_path / "store")
    frame = Frame(
        np.full((1, 134, 2), 0.5), np.ones((1, 134)), np.array([[0.0, 0, 64, 64]]), np.ones(1)
    )
    store.write("pose", KEY, PoseTrack.from_frames([frame], [0], 64, 64, 0.0))
    embedding = np.ones((18, 6), np.float32)
    embedding[HIDDEN] = 0
    store.write("correspondence", KEY, Correspondence(embedding, feature_map))
    done = {"pose_image": KEY, "correspondence": KEY}
    outcomes = SimpleNamespace(key=lambda _, role: done.get(role), layout=None)
    if motion is not None:
        store.write("motion", KEY, motion)
        done["motion"] = KEY
    config = Config(compute=Compute(decode_timeout=77.0))
    monkeypatch.setattr(previews, "read_run_config", lambda _: config)
    return previews.Previews(outcomes, pair, store, keypoint)


def test_correspondence_is_pictured_where_its_map_was_kept(tmp_path, pair, monkeypatch):
    """The picture has the size of the reference at the target size."""
    features = np.random.default_rng(0).standard_normal((6, 4, 4)).astype(np.float32)
    pictures = make(tmp_path, pair, monkeypatch, features, SHOWN)
    written = [path.name for path in pictures.write(tmp_path / "out")]
    assert written == ["p.pose_image.png", "p.correspondence.png"]
    with Image.open(tmp_path / "out" / "p.correspondence.png") as picture:
        assert picture.size == (64, 64)
    assert not pictures.remarks


def test_motion_is_pictured_as_in_the_report(tmp_path, pair, monkeypatch):
    """A row per frame: aligned pose, trajectories, dense field."""
    pictures = make(tmp_path, pair, monkeypatch, None, SHOWN, motion=field(12))
    assert tmp_path / "out/p.motion.png" in pictures.write(tmp_path / "out")
    with Image.open(tmp_path / "out/p.motion.png") as picture:
        height, width = panel_size(field(12).height, field(12).width)
        assert picture.size == (3 * width, previews.TILES * height)
        shown = np.asarray(picture)
    columns = [shown[:, n * width : (n + 1) * width] for n in range(3)]
    assert all(column[:height].std() > 0 for column in columns)
    assert not pictures.failed


@pytest.mark.parametrize(
    ("kept", "keypoint", "remark"),
    [(False, SHOWN, "keep_feature_maps"), (True, HIDDEN, "keypoint 5 is hidden")],
)
def test_why_there_is_no_picture(tmp_path, pair, monkeypatch, kept, keypoint, remark):
    """The user learns what to change."""
    features = np.ones((6, 4, 4), np.float32) if kept else None
    pictures = make(tmp_path, pair, monkeypatch, features, keypoint)
    assert [Path(p).name for p in pictures.write(tmp_path / "out")] == ["p.pose_image.png"]
    assert remark in pictures.remarks[0]


def test_limits_of_the_configuration_hold_for_pictures(tmp_path, pair, monkeypatch):
    """What is decoded for a picture is decoded as the run's jobs decode it."""
    limits = []

    def noting(path, frame, compute):
        limits.append(compute.decode_timeout)
        return read_still(path, frame, compute)

    monkeypatch.setattr(previews, "read_still", noting)
    pictures = make(tmp_path, pair, monkeypatch, np.ones((6, 4, 4), np.float32), SHOWN)
    assert len(list(pictures.write(tmp_path / "out"))) == 2
    assert set(limits) == {77.0}
