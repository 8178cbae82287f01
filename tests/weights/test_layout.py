"""The table of checkpoint files and its verification."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from dispose_stages.errors import WeightsError
from dispose_stages.weights import layout
from dispose_stages.weights.bundle import MARKER, bundle_name, write_marker
from dispose_stages.weights.digests import DigestCache, stage_digest
from dispose_stages.weights.layout import FILES, CheckpointFile, Place, files_of
from dispose_stages.weights.recognition import wrong_form
from dispose_stages.weights.verification import (
    complete_stages,
    find_file,
    problems_of,
    stage_files,
    verify,
)
from tests.models.manifests import manifest

STAGES = ("pose", "motion", "correspondence", "sample", "mux", "score")


def write_form(path: Path, file: CheckpointFile, size: int) -> None:
    """A sparse file of that size which is of the published form as far as a look can tell."""
    if path.suffix == ".json":
        path.write_text("{}".ljust(size))
        return
    with path.open("wb") as stream:
        if path.suffix == ".safetensors":
            name, shape = (file.mark, file.mark_shape) if file.mark else ("w", ())
            entry = {"dtype": "F16", "shape": shape, "data_offsets": [0, size // 2]}
            header = json.dumps({name: entry}).encode()
            stream.write(len(header).to_bytes(8, "little") + header)
        elif path.suffix in {".bin", ".pth", ".tar"}:
            archive = BytesIO()
            with zipfile.ZipFile(archive, "w") as entries:
                entries.writestr("archive/data.pkl", file.mark or "w")
            # A zip may be preceded by anything; its directory stands at the end.
            stream.write(b"PK\x03\x04")
            stream.seek(size - len(archive.getvalue()))
            stream.write(archive.getvalue())
        elif path.suffix == ".onnx":
            stream.write(b"\x08")
        stream.truncate(max(size, stream.tell()))


def lay_out(root: Path, *, choice: int = 0, full_size: bool = True) -> None:
    """A folder with a (sparse) file in one of the accepted places of every entry."""
    for file in FILES:
        place: Place = file.places[min(choice, len(file.places) - 1)]
        path = root / place.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if full_size:
            write_form(path, file, place.size or place.at_least)
        else:
            path.write_bytes(b"\0")


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
    assert len(problems_of(tmp_path)) > 5
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


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
UNET = f"{layout.SD15}/unet/diffusion_pytorch_model.fp16.safetensors"
VAE = f"{layout.SVD}/vae/diffusion_pytorch_model.fp16.safetensors"


def reason_for(root: Path, name: str) -> str:
    """What is said of a file; of no other anything."""
    (problem,) = problems_of(root)
    assert problem.path == root / name
    return problem.reason


@pytest.mark.parametrize("name", [file.name for file in FILES])
@pytest.mark.parametrize(("content", "word"), [(POINTER, "Git LFS"), (PAGE, "web page")])
def test_what_downloads_leave_is_named(
    tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    """A pointer and a sign-in page, in the place of any file, in any bundle."""
    lay_out(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert word in reason_for(tmp_path, name)
    write_marker(tmp_path, "tiny")
    assert word in str(problems_of(tmp_path, published=False)[0])


@pytest.mark.parametrize("name", [file.name for file in FILES if not file.name.endswith("txt")])
def test_a_file_that_ends_early_is_named(tmp_path: Path, name: str) -> None:
    """Whether its size is known or only what it holds."""
    lay_out(tmp_path)
    os.truncate(tmp_path / name, max(1, (tmp_path / name).stat().st_size - 1000))
    if name.endswith("json"):
        (tmp_path / name).write_text('{"half": ')
    assert "cut short" in reason_for(tmp_path, name)


@pytest.mark.parametrize("name", [UNET, layout.DISPOSE, layout.DETECTOR])
def test_another_form_is_named(tmp_path: Path, name: str) -> None:
    """Bytes that are no checkpoint at all, of the right size."""
    lay_out(tmp_path)
    size = (tmp_path / name).stat().st_size
    (tmp_path / name).write_bytes(b"\xff" * 100)
    os.truncate(tmp_path / name, size)
    assert reason_for(tmp_path, name).startswith("not a")


def test_another_model_is_named(tmp_path: Path) -> None:
    """Both ONNX files swapped, and the decoder of Stable Diffusion where that of SVD belongs."""
    lay_out(tmp_path)
    write_form(tmp_path / layout.DETECTOR, FILES[0], 134_399_116)
    assert f"it has the size of {layout.WHOLE_BODY}" in reason_for(tmp_path, layout.DETECTOR)
    lay_out(tmp_path)
    sd = next(file for file in FILES if file.name.startswith(f"{layout.SD15}/vae/diff"))
    write_form(tmp_path / VAE, sd, 195_531_910)
    assert "another model: decoder.time_conv_out" in reason_for(tmp_path, VAE)
    lay_out(tmp_path)
    dispose = next(file for file in FILES if file.name == layout.DISPOSE)
    mimic = replace(dispose, mark="unet.conv_in.weight")
    write_form(tmp_path / layout.DISPOSE, mimic, 3_000_000_000)
    assert "another model: controlnet" in reason_for(tmp_path, layout.DISPOSE)


@pytest.mark.parametrize("file", [f for f in FILES if f.mark], ids=lambda file: file.name)
def test_marks_are_of_the_networks(file: CheckpointFile) -> None:
    """The small bundle has the published networks' tensors, of other widths."""
    small = Path(__file__).parents[2] / "bundles/small"
    assert wrong_form(small / file.name, replace(file, mark_shape=())) is None


RECORDED = {
    layout.DISPOSE: "DisPose_controlnet",
    VAE: "svd_vae",
    f"{layout.SVD}/image_encoder/model.fp16.safetensors": "svd_image_encoder",
    UNET: "sd15_unet",
    f"{layout.SD15}/vae/diffusion_pytorch_model.fp16.safetensors": "sd15_vae",
    f"{layout.SD15}/text_encoder/model.fp16.safetensors": "sd15_text_encoder",
}


def test_marks_are_in_the_published_files_and_in_no_other() -> None:
    """As recorded from them; what marks one file is of another shape, or absent, in all others."""
    marks = {f.name: (f.mark, f.mark_shape) for f in FILES if f.mark}
    assert marks.keys() == RECORDED.keys()
    tables = {name: manifest(recorded)["tensors"] for name, recorded in RECORDED.items()}
    tables[layout.MIMIC_MOTION] = manifest("MimicMotion_unet_posenet")["tensors"]
    for name, (mark, wanted) in marks.items():
        held = {n: tuple(table[mark][0]) for n, table in tables.items() if mark in table}
        alike = {n for n, shape in held.items() if wanted in {(), shape}}
        assert alike == {name}


def test_a_remedy_names_what_is_needed(tmp_path: Path) -> None:
    """The command brings exactly the stages' files."""
    lay_out(tmp_path)
    (tmp_path / layout.DETECTOR).unlink()
    with pytest.raises(WeightsError) as caught:
        verify(tmp_path, {"all", "ingest", "pose", "weights"}, "official")  # as a run's jobs are
    command = f"`dispose weights download --root {tmp_path} --stage pose`"
    assert command in str(caught.value)
    with pytest.raises(WeightsError, match=rf"--root {tmp_path}` brings"):
        verify(tmp_path, None, "official")


def test_complete_stages_are_those_with_all_files(tmp_path: Path) -> None:
    """A stage without a file is left out; without any stage there is nothing to go on with."""
    lay_out(tmp_path)
    (tmp_path / layout.CMP).unlink()
    assert complete_stages(tmp_path, "official") == [s for s in STAGES if s != "motion"]
    with pytest.raises(WeightsError, match="does not exist"):
        complete_stages(tmp_path / "none", "official")
