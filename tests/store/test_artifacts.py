from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float32
from numcodecs import blosc

from dispose_stages.artifacts import Correspondence, Frame, Latents, MotionField, PoseTrack
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    NewerVersionError,
    StoreError,
)
from dispose_stages.store import archive, zarr_group
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.encoding import Tree, decode

KEY = "0123abcd" * 8
OTHER = "89efabcd" * 8


def pose_track(counts: list[int], seed: int = 0) -> PoseTrack:
    """A track with the given number of persons per frame."""
    rng = np.random.default_rng(seed)
    frames = [
        Frame(
            rng.normal(size=(n, 134, 2)),
            rng.random((n, 134)),
            rng.random((n, 4)) * 100,
            rng.random(n),
        )
        for n in counts
    ]
    return PoseTrack.from_frames(frames, [2 * i for i in range(len(counts))], 480, 360, 29.97)


def motion_field(seed: int = 0) -> MotionField:
    """A small field of three frames."""
    rng = np.random.default_rng(seed)
    return MotionField(
        poses=pose_track([1, 2, 0], seed),
        person=np.array([0, 1, -1]),
        cmp_flow=rng.integers(-3000, 3000, size=(2, 2, 192, 192), dtype=np.int16),
        height=192,
        width=128,
        scale=(0.7, 1.3),
        shift=(-0.1, 1e-300),
        residual=math.nan,
    )


def assert_equal(actual: object, expected: object) -> None:
    """Same type, values, shapes, dtypes and bits."""
    assert type(actual) is type(expected)
    for spec in dataclasses.fields(expected):  # type: ignore[arg-type]
        a, e = getattr(actual, spec.name), getattr(expected, spec.name)
        if dataclasses.is_dataclass(e):
            assert_equal(a, e)
        elif isinstance(e, np.ndarray):
            assert a.dtype == e.dtype
            assert a.shape == e.shape
            assert a.tobytes() == e.tobytes()
        else:
            assert repr(a) == repr(e)
            assert type(a) is type(e)


@pytest.mark.parametrize(
    "artifact",
    [
        pose_track([1]),
        pose_track([2, 0, 1]),
        pose_track([0, 0]),
        motion_field(),
        Correspondence(np.ones((18, 1280), np.float32)),
        Correspondence(np.zeros((18, 8), np.float32), np.ones((8, 12, 8), np.float32)),
        Latents(np.random.default_rng(1).normal(size=(5, 4, 24, 16)).astype(np.float16)),
        Latents(np.full((3, 4, 8, 8), np.nan, np.float32)),
        Latents(np.zeros((2, 4, 512, 600), np.float64)),
    ],
    ids=lambda artifact: type(artifact).__name__,
)
def test_what_is_written_is_read(tmp_path: Path, artifact: object) -> None:
    """Every artifact comes back bit-equal, with its digest known without reading it."""
    store = ArtifactStore(tmp_path)
    digest = store.write("pose", KEY, artifact, {"seed": 42})
    assert_equal(store.read("pose", KEY, type(artifact)), artifact)
    assert store.digest("pose", KEY) == digest
    assert store.attributes("pose", KEY)["provenance"] == {"seed": 42}


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 5), st.just(4), st.integers(0, 7), st.integers(1, 9)),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, ">f4"]),
    transposed=st.booleans(),
)
def test_any_layout_of_an_array_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    dtype: type,
    transposed: bool,
) -> None:
    """Byte order, strides and empty axes of the input do not matter."""
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    if transposed:
        values = np.asfortranarray(values)
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    store.write("sample", KEY, Latents(values))
    actual = store.read("sample", KEY, Latents).latents
    assert actual.dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(actual, values)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    rows=st.integers(0, 3),
    columns=st.integers(1, 40),
)
def test_parts_are_what_the_whole_holds(
    tmp_path_factory: pytest.TempPathFactory, frames: list[int], rows: int, columns: int
) -> None:
    """Arrays of several chunks, empty ones and those of subgroups; and the values of the root."""
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    field = dataclasses.replace(motion_field(), poses=pose_track(frames))
    store.write("motion", KEY, field)
    part = store.read_part("motion", KEY, "poses", "person")
    assert part.arrays.keys() == {"person"}
    assert (part.kind, part.values["height"]) == ("MotionField", 192)
    assert_equal(decode(part.groups["poses"], PoseTrack), field.poses)
    wide = np.random.default_rng(1).normal(size=(rows, 4, columns, 300 * columns))
    store.write("sample", KEY, Latents(wide))
    np.testing.assert_array_equal(store.read_part("sample", KEY, "latents").arrays["latents"], wide)
    with pytest.raises(ArtifactMissingError):
        store.read_part("sample", OTHER, "latents")


def damage(path: Path, data: st.DataObject) -> None:
    """Flip some byte of a file, or cut it off there."""
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= data.draw(st.integers(1, 255))
    else:
        del content[position:]
    path.write_bytes(bytes(content))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_of_a_part_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte is flipped or cut, a part has the same content or there is a typed error."""
    store = ArtifactStore(tmp_path_factory.mktemp("store"), max_bytes=1 << 24)
    values = np.random.default_rng(0).normal(size=(18, 64)).astype(np.float32)
    store.write("correspondence", KEY, Correspondence(values))
    path = store.path("correspondence", KEY)
    damage(path, data)
    try:
        part = store.read_part("correspondence", KEY, "embedding")
    except ArtifactCorruptError:
        return
    if "embedding" in part.arrays:  # else its name is damaged
        np.testing.assert_array_equal(part.arrays["embedding"], values)


def test_files_are_reproducible(tmp_path: Path) -> None:
    """The same artifact gives the same bytes, in another process and whatever its memory layout."""
    store = ArtifactStore(tmp_path)
    artifact = motion_field()
    reordered = dataclasses.replace(artifact, cmp_flow=np.asfortranarray(artifact.cmp_flow))
    first = store.write("motion", KEY, artifact, {"a": 1, "b": 2})
    before = store.path("motion", KEY).read_bytes()
    second = store.write("motion", KEY, reordered, {"b": 2, "a": 1})
    assert first == second
    assert store.path("motion", KEY).read_bytes() == before
    code = (
        "import sys; from pathlib import Path; import tests.store.test_artifacts as t;"
        "t.ArtifactStore(Path(sys.argv[1])).write('motion', t.KEY, t.motion_field(),"
        " {'a': 1, 'b': 2})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True)
    assert ArtifactStore(tmp_path / "again").path("motion", KEY).read_bytes() == before


def test_digest_is_of_content_only(tmp_path: Path) -> None:
    """Key, stage and provenance leave the digest alone; one changed bit or scalar does not."""
    store = ArtifactStore(tmp_path)
    artifact = motion_field()
    digest = store.write("motion", KEY, artifact, {"x": 1})
    assert store.write("sample", OTHER, artifact, {"x": 2}) == digest
    flow = artifact.cmp_flow.copy()
    flow[1, 1, 191, 191] ^= 1
    changed = [
        dataclasses.replace(artifact, cmp_flow=flow),
        dataclasses.replace(artifact, cmp_flow=artifact.cmp_flow.view(np.int16)[:1]),
        dataclasses.replace(artifact, height=193),
        dataclasses.replace(artifact, residual=0.0),
        dataclasses.replace(artifact, poses=dataclasses.replace(artifact.poses, fps=30.0)),
    ]
    digests = {store.write("motion", KEY, variant) for variant in changed}
    assert len(digests | {digest}) == len(changed) + 1


def test_plain_zarr_opens_the_file(tmp_path: Path) -> None:
    """Any zarr v3 reader finds groups, arrays, axis names and attributes."""
    store = ArtifactStore(tmp_path)
    artifact = motion_field()
    store.write("motion", KEY, artifact)
    with zarr.storage.ZipStore(store.path("motion", KEY), mode="r") as zipped:
        group = zarr.open_group(zipped, mode="r")
        assert group.attrs["format"] == "dispose-artifact"
        assert group.attrs["values"]["scale"] == [0.7, 1.3]
        assert group.attrs["values"]["residual"] == "NaN"
        np.testing.assert_array_equal(group["cmp_flow"][...], artifact.cmp_flow)
        np.testing.assert_array_equal(group["poses/keypoints"][...], artifact.poses.keypoints)
        assert group["poses/keypoints"].metadata.dimension_names == ("n", None, None)


def test_absent_artifacts(tmp_path: Path) -> None:
    """Nothing there: a missing error on reading, None as digest, no keys."""
    store = ArtifactStore(tmp_path / "none")
    assert store.digest("pose", KEY) is None
    assert list(store.keys("pose")) == []
    with pytest.raises(ArtifactMissingError, match=KEY):
        store.read("pose", KEY, PoseTrack)
    with pytest.raises(ArtifactMissingError):
        store.attributes("pose", KEY)
    store.remove("pose", KEY)


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("../pose", KEY),
        ("pose/x", KEY),
        ("", KEY),
        ("pose", "../../etc/passwd"),
        ("pose", KEY.upper()),
        ("pose", KEY + "\n"),
        ("pose", ""),
        ("pose", "/" * 64),
    ],
)
def test_names_cannot_leave_the_store(tmp_path: Path, stage: str, key: str) -> None:
    """Only stage names and hexadecimal keys become paths."""
    with pytest.raises(StoreError, match="does not name"):
        ArtifactStore(tmp_path).path(stage, key)


def test_wrong_shapes_are_not_written(tmp_path: Path) -> None:
    """A field that breaks its annotation is a defect, found before anything is committed."""
    store = ArtifactStore(tmp_path)
    track = pose_track([1, 1])
    for broken in (
        dataclasses.replace(track, keypoints=track.keypoints.astype(np.float32)),
        dataclasses.replace(track, keypoints=track.keypoints[:, :133]),
        dataclasses.replace(track, scores=track.scores[:1]),
        Correspondence(np.full((18, 4), None)),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            store.write("pose", KEY, broken)
    assert store.digest("pose", KEY) is None
    assert not list(tmp_path.rglob("*"))


def test_another_kind_is_refused(tmp_path: Path) -> None:
    """An artifact read as something else, or by another name, is corrupt, not misread."""
    store = ArtifactStore(tmp_path)
    store.write("pose", KEY, pose_track([1]))
    with pytest.raises(ArtifactCorruptError, match="PoseTrack is stored, not a Latents"):
        store.read("pose", KEY, Latents)
    store.path("pose", OTHER).parent.mkdir(parents=True)
    os.link(store.path("pose", KEY), store.path("pose", OTHER))
    assert store.digest("pose", OTHER) is None
    with pytest.raises(ArtifactCorruptError, match="is not the"):
        store.read("pose", OTHER, PoseTrack)


def test_a_changed_dataclass_is_refused(tmp_path: Path) -> None:
    """A field of another type, or one that is missing, is reported by name."""

    @dataclass(frozen=True)
    class Thing:
        size: int

    store = ArtifactStore(tmp_path)
    store.write("pose", KEY, Thing(3))
    assert store.read("pose", KEY, Thing) == Thing(3)
    for fields in ({"size": float, "more": str}, {"size": str}, {"size": bool}):
        other = dataclasses.make_dataclass("Thing", fields.items())
        with pytest.raises(ArtifactCorruptError, match=r"Thing\.(size|more) is"):
            store.read("pose", KEY, other)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte is flipped or cut: reading gives the same content or a typed error."""
    store = ArtifactStore(tmp_path_factory.mktemp("store"), max_bytes=1 << 24)
    artifact = Correspondence(np.random.default_rng(0).normal(size=(18, 64)).astype(np.float32))
    store.write("correspondence", KEY, artifact)
    path = store.path("correspondence", KEY)
    damage(path, data)
    store.digest("correspondence", KEY)
    try:
        actual = store.read("correspondence", KEY, Correspondence)
    except ArtifactCorruptError:
        return
    assert_equal(actual, artifact)


def test_a_corrupt_file_is_replaced(tmp_path: Path) -> None:
    """What counts as absent can be written again."""
    store = ArtifactStore(tmp_path)
    path = store.path("pose", KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert store.digest("pose", KEY) is None
    digest = store.write("pose", KEY, pose_track([1]))
    assert store.digest("pose", KEY) == digest


def _repack(path: Path, change: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    members = {**archive.unpack(path, max_bytes=1 << 30), **change}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, content in members.items():
            target.writestr(name, content)
    path.write_bytes(buffer.getvalue())


def test_bombs_are_refused(tmp_path: Path) -> None:
    """Deflated members, huge declared shapes and chunks that unfold are refused unread."""
    store = ArtifactStore(tmp_path, max_bytes=1 << 20)
    path = store.path("sample", KEY)

    def refused(match: str) -> None:
        with pytest.raises(ArtifactCorruptError, match=match):
            store.read("sample", KEY, Latents)
        with pytest.raises(ArtifactCorruptError, match=match):
            store.read_part("sample", KEY, "latents")

    store.write("sample", KEY, Latents(np.ones((2, 4, 8, 8), np.float32)))
    _repack(path, {"x": bytes(1 << 25)}, zipfile.ZIP_DEFLATED)
    refused("compressed")
    store.write("sample", KEY, Latents(np.ones((2, 4, 8, 8), np.float32)))
    files = archive.unpack(path, max_bytes=1 << 30)
    metadata = json.loads(files["latents/zarr.json"])
    metadata["shape"] = [10**9, 4, 8, 8]
    _repack(path, {"latents/zarr.json": json.dumps(metadata).encode()})
    refused("more than 1048576 bytes")
    store.write("sample", KEY, Latents(np.ones((2, 4, 8, 8), np.float32)))
    (chunk,) = [name for name in files if name.startswith("latents/c")]
    huge = files[chunk][:4] + (2**31 - 17).to_bytes(4, "little") + files[chunk][8:]
    _repack(path, {chunk: huge})
    refused("does not decode to 2048 bytes")
    store.write("sample", KEY, Latents(np.ones(((1 << 16) + 1, 4, 1, 1), np.float32)))
    refused("more than 1048576 bytes")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_type", "object"),
        ("data_type", "no type"),
        ("shape", [-2, -4, 8, 8]),
        ("shape", [10**30, 0, 8, 8]),
        ("shape", [2.0, 4, 8, 8]),
        ("shape", "2488"),
        ("shape", [2, 4, 64]),
        ("chunk_grid", {"configuration": {"chunk_shape": [0, 4, 8, 8]}}),
        ("chunk_grid", {"configuration": {"chunk_shape": [-2, 4, 8, 8]}}),
        ("chunk_grid", {"configuration": {"chunk_shape": [2, 4, 8, 4]}}),
        ("chunk_grid", {"configuration": {"chunk_shape": [1 << 20, 4, 8, 8]}}),
        ("chunk_grid", []),
        ("fill_value", 1),
        ("codecs", [{"name": "bytes"}, {"name": "gzip"}]),
        ("codecs", None),
        ("node_type", "group"),
    ],
)
def test_arrays_that_are_never_written_are_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    """With a typed error, whole and in part; nothing is allocated by what metadata say."""
    store = ArtifactStore(tmp_path)
    store.write("sample", KEY, Latents(np.ones((2, 4, 8, 8), np.float32)))
    path = store.path("sample", KEY)
    head = json.loads(archive.unpack(path, max_bytes=1 << 30)["latents/zarr.json"])
    _repack(path, {"latents/zarr.json": json.dumps(head | {name: value}).encode()})
    with pytest.raises(ArtifactCorruptError):
        store.read("sample", KEY, Latents)
    with pytest.raises(ArtifactCorruptError):
        store.read_part("sample", KEY, "latents")


def test_replaced_content_does_not_match_its_digest(tmp_path: Path) -> None:
    """A chunk of another artifact of the same shape is found out."""
    store = ArtifactStore(tmp_path)
    rng = np.random.default_rng(0)
    for key in (KEY, OTHER):
        store.write("sample", key, Latents(rng.normal(size=(2, 4, 8, 8))))
    files = archive.unpack(store.path("sample", OTHER), max_bytes=1 << 30)
    chunks = {name: content for name, content in files.items() if "/c/" in name}
    _repack(store.path("sample", KEY), chunks)
    assert store.digest("sample", KEY) is not None
    with pytest.raises(ArtifactCorruptError, match="digest"):
        store.read("sample", KEY, Latents)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    """A file of a later release is not guessed at."""
    store = ArtifactStore(tmp_path)
    store.write("pose", KEY, pose_track([1]))
    files = archive.unpack(store.path("pose", KEY), max_bytes=1 << 30)
    head = json.loads(files["zarr.json"])
    head["attributes"]["format_version"] = 2
    _repack(store.path("pose", KEY), {"zarr.json": json.dumps(head).encode()})
    with pytest.raises(NewerVersionError, match="format 2"):
        store.read("pose", KEY, PoseTrack)


@dataclass(frozen=True)
class _Explosive:
    values: Float32[np.ndarray, "n"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error before the rename changes nothing and leaves no temporary file."""
    store = ArtifactStore(tmp_path)
    digest = store.write("pose", KEY, _Explosive(np.zeros(3, np.float32)))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        store.write("pose", KEY, _Explosive(np.ones(3, np.float32)))
    monkeypatch.undo()
    assert store.digest("pose", KEY) == digest
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.zarr.zip"]


def test_keys_lists_artifacts_only(tmp_path: Path) -> None:
    """Partial states, temporary files and strangers are not keys."""
    store = ArtifactStore(tmp_path)
    for key in (KEY, OTHER):
        store.write("pose", key, pose_track([1]))
    store.write_partial("pose", KEY, {"latents": np.zeros(3)})
    (store.path("pose", KEY).parent / ".x.zarr.zip.12-34.tmp").touch()
    (store.path("pose", KEY).parent / "README.zarr.zip").touch()
    (tmp_path / "pose" / "stray").touch()
    assert sorted(store.keys("pose")) == sorted([KEY, OTHER])


def test_partial_state(tmp_path: Path) -> None:
    """State under way is kept beside the artifact, replaced, dropped, and never fatal."""
    store = ArtifactStore(tmp_path)
    assert store.read_partial("sample", KEY) is None
    store.write_partial("sample", KEY, {"latents": np.zeros((2, 3))}, {"step": 4})
    latents = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float16)
    kept = {"latents": latents, "level": np.array(0.5), "first": np.array(False)}
    store.write_partial("sample", KEY, kept, {"step": 8, "rung": "small"})
    arrays, attributes = store.read_partial("sample", KEY) or ({}, {})
    assert arrays.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert attributes == {"step": 8, "rung": "small"}
    assert store.digest("sample", KEY) is None
    (partial,) = tmp_path.rglob("*.partial.zarr.zip")
    partial.write_bytes(partial.read_bytes()[:-30])
    assert store.read_partial("sample", KEY) is None
    store.drop_partial("sample", KEY)
    store.drop_partial("sample", KEY)
    assert not list(tmp_path.rglob("*.zip"))


def test_import_is_cheap() -> None:
    """Opening a store needs neither torch nor zarr."""
    code = (
        "import sys, dispose_stages.store.artifacts;"
        "sys.exit(bool({'torch', 'zarr', 'decord', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_chunk_is_not_read_beyond_its_end() -> None:
    """What a chunk promises and does not hold is not taken from the memory behind it."""
    size = 4 << 20
    noise = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    whole = blosc.compress(noise.tobytes(), b"zstd", 5, 0)
    assert np.array_equal(zarr_group._decoded("c", whole, noise.dtype, (size,)), noise)
    for kept in (16, 2000, len(whole) - 1):
        with pytest.raises(ArtifactCorruptError):
            zarr_group._decoded("c", whole[:kept], noise.dtype, (size,))


@dataclass(frozen=True)
class Rate:
    fps: float


def test_a_number_beyond_all_is_damage() -> None:
    """JSON knows integers that no float can hold."""
    with pytest.raises(ArtifactCorruptError, match="fps"):
        decode(Tree(kind="Rate", values={"fps": 10**400}), Rate)
