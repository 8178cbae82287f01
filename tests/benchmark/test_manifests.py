from __future__ import annotations

import csv
import io

import pytest

from dispose_stages.batch.manifest import read_manifest
from dispose_stages.benchmark.manifests import (
    VARIANTS,
    find_videos,
    self_driven_variants,
    with_variants,
)
from dispose_stages.config import Parameters
from dispose_stages.errors import ManifestError


@pytest.fixture
def folder(tmp_path):
    for name in ("00335.mp4", "00336.mov", "i.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_every_video_in_every_variant(folder):
    """Its own first frame is the reference; the rows read back as what they say."""
    (folder / "m.csv").write_text(self_driven_variants(find_videos(folder), folder))
    found = read_manifest(folder / "m.csv", Parameters())
    assert not found.problems
    assert [row.pair_id for row in found.rows][:4] == [f"00335_{v}" for v in VARIANTS]
    assert {row.reference_frame for row in found.rows} == {0}
    guided = [
        (row.parameters.motion_guidance, row.parameters.correspondence_guidance)
        for row in found.rows
    ]
    assert guided == list(VARIANTS.values()) * 2


def test_sequences_are_listed_by_name(folder):
    """One that is missing is said, not left out."""
    assert [p.name for p in find_videos(folder, ["00336"])] == ["00336.mov"]
    with pytest.raises(ManifestError, match="lacks 00337, 00338"):
        find_videos(folder, ["00335", "00337", "00338"])
    with pytest.raises(ManifestError, match="no such folder"):
        find_videos(folder / "nowhere")


def test_a_manifest_of_ones_own_in_every_variant(folder, tmp_path_factory):
    """Other columns stay, paths hold elsewhere, guidance is the variant's."""
    (folder / "m.csv").write_text(
        "reference_image,driving_video,pair_id,caption,motion_guidance\n"
        "i.png,00335.mp4,a,says so,false\ni.png,00336.mov,,,\n"
    )
    text = with_variants(folder / "m.csv")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy.csv"
    elsewhere.write_text(text)
    found = read_manifest(elsewhere, Parameters())
    assert not found.problems
    assert len(found.rows) == 8
    assert found.rows[0].parameters.motion_guidance
    assert found.rows[0].extra["caption"] == "says so"
    assert [row["pair_id"] for row in csv.DictReader(io.StringIO(text))][4] == "line00003_full"
    (folder / "empty.csv").write_text("reference_image,driving_video\n")
    with pytest.raises(ManifestError, match="no rows"):
        with_variants(folder / "empty.csv")
