"""The table of checkpoint files and its verification."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dispose_stages.errors import WeightsError
from dispose_stages.weights import layout
from dispose_stages.weights.bundle import MARKER, bundle_name, write_marker
from dispose_stages.weights.digests import DigestCache, stage_digest
from dispose_stages.weights.layout import FILES, Place, files_of
from dispose_stages.weights.verification import find_file, missing_files, stage_files, verify

STAGES = ("pose", "motion", "correspondence", "sample", "mux", "score")


def lay_out(root: Path, *, choice: int = 0, full_size: bool = True) -> None:
    """A folder with a (sparse) file in one of the accepted places of every entry."""
    for file in FILES:
        place: Place = file.places[min(choice, len(file.places) - 1)]
        path = root / place.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.truncate((place.size or place.at_least) if full_size else 1)


def test_layout_is_free_of_heavy_imports() -> None:
    """Parsing the Snakefile must not load torch."""
    code = (
        "import sys, dispose_stages.weights.verification, dispose_stages.weights.digests;"
        "sys.exit(bool({'torch', 'numpy', 'zarr'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_stage_with_networks_has_files() -> None:
    """And every file belongs to a stage."""
    assert {stage for file in FILES for stage in file.stages} == set(STAGES)
    assert len({file.name for file in FILES}) == len(FILES)
    assert {file.name for file in files_of(["pose"])} == {layout.DETECTOR, layout.WHOLE_BODY}
    assert not files_of(["ingest"])


def test_everything_missing_is_named_at_once(tmp_path: Path) -> None:
    """One error lists place, size and publisher of every missing file."""
    with pytest.raises(WeightsError) as caught:
        verify(tmp_path, None, "official")
    message = str(caught.value)
    assert message.startswith(f"{len(FILES)} checkpoint files are missing or wrong")
    for file in FILES:
        assert str(tmp_path / file.name) in message
        assert file.published in message
    assert "3,049,867,447 bytes" in message


@pytest.mark.parametrize("choice", [0, 1, 2, 3])
def test_alternatives_are_accepted(tmp_path: Path, choice: int) -> None:
    """Plain or fp16 files, safetensors or bin, either spelling of a folder."""
    lay_out(tmp_path, choice=choice)
    verify(tmp_path, None, "official")


def test_truncated_and_missing_files_come_together(tmp_path: Path) -> None:
    """A half-finished download is told from a missing file."""
    lay_out(tmp_path)
    os.truncate(tmp_path / layout.MIMIC_MOTION, 1000)
    os.truncate(tmp_path / layout.DISPOSE, 1000)
    (tmp_path / layout.CMP).unlink()
    with pytest.raises(WeightsError) as caught:
        verify(tmp_path, STAGES, "official")
    message = str(caught.value)
    assert message.startswith("3 checkpoint files")
    assert "1,000 bytes instead of the published 3,049,867,447" in message
    assert "too few for its weights" in message
    assert f"{layout.CMP}: missing, 228,465,722 bytes" in message


def test_only_the_stages_asked_for_count(tmp_path: Path) -> None:
    """Pose runs without gigabytes of diffusion weights."""
    lay_out(tmp_path)
    (tmp_path / layout.DISPOSE).unlink()
    verify(tmp_path, ["pose", "motion", "mux"], "official")
    with pytest.raises(WeightsError, match=layout.DISPOSE):
        verify(tmp_path, ["sample"], "official")


def test_marked_bundles_have_their_own_sizes(tmp_path: Path) -> None:
    """Small files are right in a marked folder, empty ones nowhere."""
    lay_out(tmp_path, full_size=False)
    assert bundle_name(tmp_path) == "official"
    assert len(missing_files(tmp_path)) > 5
    write_marker(tmp_path, "tiny", seed=0)
    verify(tmp_path, None, "tiny")
    os.truncate(tmp_path / layout.CMP, 0)
    with pytest.raises(WeightsError, match="empty"):
        verify(tmp_path, None, "tiny")


def test_bundle_and_configuration_must_agree(tmp_path: Path) -> None:
    """Noise is never taken for the published weights, nor the other way round."""
    lay_out(tmp_path)
    with pytest.raises(WeightsError, match="make-tiny"):
        verify(tmp_path, None, "tiny")
    write_marker(tmp_path, "tiny")
    with pytest.raises(WeightsError, match="'tiny'"):
        verify(tmp_path, None, "official")


def test_absent_folder_and_broken_marker(tmp_path: Path) -> None:
    """Both are said plainly."""
    with pytest.raises(WeightsError, match="make-tiny"):
        verify(tmp_path / "nowhere", None, "tiny")
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(WeightsError, match=MARKER):
        bundle_name(tmp_path)


def test_files_are_found_in_any_place(tmp_path: Path) -> None:
    """`find_file` and `stage_files` give the place that is there."""
    lay_out(tmp_path, choice=1)
    assert find_file(tmp_path, layout.DETECTOR) == tmp_path / "DWPose" / "yolox_l.onnx"
    assert stage_files(tmp_path, "motion") == [find_file(tmp_path, layout.CMP)]
    assert stage_files(tmp_path, "ingest") == []
    (tmp_path / "DWPose" / "yolox_l.onnx").unlink()
    with pytest.raises(WeightsError, match="yzd-v/DWPose"):
        stage_files(tmp_path, "pose")
    with pytest.raises(WeightsError, match="yzd-v/DWPose"):
        find_file(tmp_path, layout.DETECTOR)


def test_digests_are_remembered_until_a_file_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Gigabytes are read once, and said; place and name of the folder do not matter."""
    caplog.set_level("INFO")
    lay_out(tmp_path / "a", full_size=False)
    lay_out(tmp_path / "b", choice=1, full_size=False)
    cache_path = tmp_path / "cache" / "digests.json"
    first = stage_digest(tmp_path / "a", "pose", DigestCache(cache_path))
    assert caplog.text.count("reading ") == 2
    assert stage_digest(tmp_path / "a", "pose", DigestCache(cache_path)) == first
    assert caplog.text.count("reading ") == 2
    assert stage_digest(tmp_path / "b", "pose", DigestCache(cache_path)) == first
    detector = tmp_path / "a" / layout.DETECTOR
    detector.write_bytes(b"other")
    assert stage_digest(tmp_path / "a", "pose", DigestCache(cache_path)) != first


def test_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    """A cache is never a reason to stop."""
    lay_out(tmp_path / "a", full_size=False)
    cache = tmp_path / "digests.json"
    expected = stage_digest(tmp_path / "a", "mux", DigestCache(cache))
    for content in ("{", "[]", '{"format": 99}', '{"format": 1, "files": 3}'):
        cache.write_text(content)
        assert stage_digest(tmp_path / "a", "mux", DigestCache(cache)) == expected
    assert stage_digest(tmp_path / "a", "ingest", DigestCache(cache)) == ""
