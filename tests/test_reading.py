"""A real run of the tiny bundle, read from Python."""

import contextlib
import doctest
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dispose_stages
from dispose_stages import open_run, reading
from dispose_stages.batch.outcomes import PairStatus
from dispose_stages.errors import ArtifactMissingError, StoreError
from dispose_stages.geometry.dense_field import dense_field
from dispose_stages.store.video import VideoReader

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tiny_run):
    """Where `results/demo` lies: three pairs that were delivered, and one that failed."""
    return tiny_run


@pytest.fixture(scope="module")
def run(folder):
    """Opened from elsewhere."""
    return open_run(folder / "results/demo")


def test_the_examples_in_the_documentation_are_true(folder):
    """Doctests of the module."""
    with contextlib.chdir(folder):
        done = doctest.testmod(reading)
    assert done.attempted > 10
    assert done.failed == 0


def test_the_walk_through_a_run_runs(folder, tmp_path, capsys, monkeypatch):
    """docs/examples/look_at_a_run.py, with its pictures."""
    script = REPOSITORY / "docs/examples/look_at_a_run.py"
    monkeypatch.setattr(sys, "argv", [script.name, str(folder / "results/demo"), str(tmp_path)])
    runpy.run_path(str(script))
    said = capsys.readouterr().out
    assert "3 of 4 rows delivered, 1 failed" in said
    assert "media_unreadable" in said
    with Image.open(tmp_path / "blue_dances.png") as picture:
        assert picture.height > 100


def test_reading_imports_no_torch(folder):
    """Neither does the name of the package: not even NumPy is loaded for that."""
    code = (
        "import sys, dispose_stages; light = 'numpy' not in sys.modules\n"
        f"run = dispose_stages.open_run({str(folder / 'results/demo')!r})\n"
        "pair = run['blue_dances']; run.pairs; pair.motion.tracks; pair.field(0); pair.latents\n"
        "pair.draw('pose'); pair.draw('field'); pair.draw('reference'); next(pair.frames())\n"
        "print(light, [m for m in ('torch', 'onnxruntime', 'snakemake') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_everything_is_what_the_stages_left(run):
    """Shapes belong together; the field is the one that was sampled with."""
    pair = run["green_waves"]
    motion = pair.motion
    frames = list(pair.frames())
    assert len(frames) == len(pair.pose) == len(motion.cmp_flow) == pair.video.frames
    assert pair.latents.shape == (5, 4, motion.height // 8, motion.width // 8)
    assert frames[0].shape == pair.draw("result").shape == (motion.height, motion.width, 3)
    np.testing.assert_array_equal(pair.draw("result", 3), frames[3])
    size = (motion.height, motion.width)
    expected = dense_field(motion.cmp_flow[2:3], *size, device="cpu", dtype=torch.float32)[0]
    np.testing.assert_allclose(pair.field(2), expected.numpy(), atol=1e-4)
    assert len(pair.reference_pose) == 1
    assert pair.correspondence.embedding.shape[0] == 18
    assert pair.scores
    assert run.pairs.loc["green_waves", f"score_{next(iter(pair.scores))}"] in pair.scores.values()


def test_tracks_are_pixels_and_hidden_points_are_none(run):
    """They are the body track at the target's size."""
    motion = run["green_waves"].motion
    points, visible = motion.body_track()
    tracks = motion.tracks
    assert np.isnan(tracks[~visible]).all()
    np.testing.assert_allclose(
        tracks[visible], points[visible] * (motion.width, motion.height), rtol=1e-12
    )


@pytest.mark.parametrize("what", ["reference", "pose", "field", "result"])
def test_every_drawing_shows_something(run, what):
    """Of the target's size, and not of one colour."""
    pair = run["green_waves"]
    drawn = pair.draw(what, 2)
    assert drawn.dtype == np.uint8
    assert drawn.shape[-1] == 3
    assert drawn.shape[:2] >= (pair.motion.height, pair.motion.width)
    assert drawn.std() > 1


def test_what_is_not_there_says_why(run, folder):
    """A failed pair with its reason; a pair, a drawing, a frame and a run that do not exist."""
    gone = run["gone"]
    assert gone.status is PairStatus.FAILED
    assert gone.outcome.reason == "media_unreadable"
    with pytest.raises(ArtifactMissingError, match="gone has no result of sample: media_unread"):
        _ = gone.latents
    with pytest.raises(KeyError, match="did you mean `blue_dances`"):
        run["blue_dance"]
    with pytest.raises(ValueError, match="did you mean `pose`"):
        run["blue_waves"].draw("pos")
    with pytest.raises(IndexError):
        run["blue_waves"].field(4)
    with pytest.raises(StoreError, match="holds no planned run"):
        open_run(folder / "results")


def test_a_moved_run_is_read_where_it_is_now(run, folder, tmp_path):
    """With its store beside it, or wherever `base` says."""
    shutil.copytree(folder / "results", tmp_path / "elsewhere/results")
    shutil.copytree(folder / "store", tmp_path / "elsewhere/store")
    moved = open_run(tmp_path / "elsewhere/results/demo")
    assert moved["blue_dances"].latents.shape == (5, 4, 24, 16)
    assert moved.base == (tmp_path / "elsewhere").resolve()
    shutil.copytree(folder / "results/demo", tmp_path / "alone")
    assert open_run(tmp_path / "alone", base=folder)["blue_dances"].motion.height == 192


def test_the_documented_functions_are_those_that_are_offered():
    """Each by its name from the package, with a line about it."""
    text = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
    table = text[text.index("## Functions") :]
    named = set(re.findall(r"^\| `(\w+)\(", table, flags=re.MULTILINE))
    assert named == set(dispose_stages._PLACES) - {"open_run"}
    for name in dispose_stages._PLACES:
        assert getattr(dispose_stages, name).__doc__
        assert name in dir(dispose_stages)
    with pytest.raises(AttributeError, match="no_such"):
        _ = dispose_stages.no_such


def test_the_video_can_be_read_by_others(run):
    """It is a plain file."""
    with VideoReader(run["blue_waves"].video.path) as video:
        assert video.frame_count == 4
