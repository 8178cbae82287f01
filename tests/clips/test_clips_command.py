from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispose_stages.batch.manifest import read_manifest
from dispose_stages.cli import cli
from dispose_stages.config import Parameters
from dispose_stages.errors import ManifestError
from tests.clips.drivers import write_drivers

IMAGE = Path(__file__).parents[2] / "manifests/media/reference_blue.png"


def propose(videos, output, *options):
    arguments = ["manifest", "clips", str(videos), "-o", str(output), *map(str, options)]
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="module")
def proposed(tmp_path_factory):
    """Folder and output of a proposal for drivers of every kind."""
    folder = tmp_path_factory.mktemp("clips")
    write_drivers(folder / "videos")
    result = propose(folder / "videos", folder / "m.csv")
    assert result.exit_code == 0, result.output
    return folder, result.output


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def left_out(output, name):
    """Reasons that are given for a video, with the frames where there are some."""
    return re.findall(rf"^videos/{name}\.mp4: (?:frames (\S+): )?(\w+)", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "clips", "reasons"),
    [
        ("black_first", [(12, 24)], [("0-0", "nobody")]),
        ("close_up", [], [("0-59", "nobody")]),
        ("dance", [(0, 30)], []),
        ("empty", [], [("0-59", "nobody")]),
        ("leaves", [(0, 31)], [("72-83", "nobody")]),
        ("still", [], [("0-59", "no_motion")]),
        ("short", [], [("0-19", "too_short")]),
        ("two_scenes", [(0, 30), (60, 30)], []),
        ("wave", [(0, 30)], []),
        ("broken", [], [("", "media_unreadable")]),
    ],
)
def test_every_kind_of_driver(proposed, name, clips, reasons):
    """Its clips as first frame and number of frames; what is left out as frames and reason."""
    folder, output = proposed
    found = [row for row in rows(folder / "m.csv") if row["driving_video"] == f"videos/{name}.mp4"]
    assert [(int(row["start_frame"]), int(row["max_frames"])) for row in found] == clips
    assert left_out(output, name) == reasons


def test_a_video_that_is_cut_off_gives_what_is_before(proposed):
    """The scene that is there whole is a clip, and nothing is read behind the damage."""
    folder, _ = proposed
    found = [row for row in rows(folder / "m.csv") if "cut_off" in row["driving_video"]]
    assert found[0]["start_frame"] == "0"
    assert all(int(row["start_frame"]) + 2 * int(row["max_frames"]) < 120 for row in found)


def test_the_rows_run_as_they_are(proposed):
    """A manifest without a bad row; every clip drives its own first frame."""
    folder, _ = proposed
    manifest = read_manifest(folder / "m.csv", Parameters())
    assert not manifest.problems
    for row in manifest.rows:
        assert row.reference_frame == row.parameters.start_frame


def test_every_piece_is_on_the_contact_sheet(proposed):
    """With its verdict and pictures; the page needs nothing from elsewhere."""
    folder, output = proposed
    page = (folder / "m.clips.html").read_text()
    pieces = page.count("<li class=")
    assert pieces == len(rows(folder / "m.csv")) + output.count(": frames ")
    assert page.count("<img ") >= pieces
    assert "media_unreadable" in page
    assert not re.search(r"https?://", page)


def test_clips_are_paired_with_images(proposed, tmp_path):
    """Each with each; the stride of the configuration is the rows'."""
    folder, _ = proposed
    people, videos = tmp_path / "people", tmp_path / "videos"
    people.mkdir()
    videos.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(IMAGE, people / name)
    shutil.copy(folder / "videos/dance.mp4", videos)
    settings = ("--images", people, "--set", "parameters.sample_stride=3")
    assert propose(videos, tmp_path / "m.csv", *settings).exit_code == 0
    assert [tuple(row.values()) for row in rows(tmp_path / "m.csv")] == [
        (f"people/{name}.png", "videos/dance.mp4", "3", "0", "20") for name in "ab"
    ]
    assert not read_manifest(tmp_path / "m.csv", Parameters()).problems


def test_where_nothing_can_drive_the_page_says_why(proposed, tmp_path):
    """There is no manifest without rows."""
    folder, _ = proposed
    (tmp_path / "videos").mkdir()
    shutil.copy(folder / "videos/empty.mp4", tmp_path / "videos")
    result = propose(tmp_path / "videos", tmp_path / "m.csv")
    assert isinstance(result.exception, ManifestError)
    assert "nobody" in (tmp_path / "m.clips.html").read_text()
    assert not (tmp_path / "m.csv").exists()
