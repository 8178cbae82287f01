from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dispose_stages.errors import WeightsError
from dispose_stages.training.bundle.tiny import make_tiny
from dispose_stages.weights import layout
from dispose_stages.weights.conversion import convert_checkpoint, pickles
from dispose_stages.weights.converted import (
    RECORD,
    conversion_path,
    find_in_use,
    is_current,
    read_record,
)
from dispose_stages.weights.digests import DigestCache, stage_digest
from dispose_stages.weights.files import open_weights
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.loading.diffusion import load_mimic_motion
from dispose_stages.weights.verification import find_file, stage_files, verify
from tests.models.tiny_networks import CONFIG
from tests.weights.loading.test_load_diffusion import tiny_mimic_motion

STAGES = ("motion", "correspondence", "sample", "mux")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A pickle with every kind of tensor, two of which share their memory."""
    path = tmp_path / "model.pth"
    shared = torch.arange(6.0)
    torch.save(
        {
            "a": torch.arange(3, dtype=torch.float16),
            "scalar": torch.tensor(7),
            "turned": torch.arange(6.0).reshape(2, 3).T,
            "whole": shared,
            "part": shared[2:4],
            "empty": torch.zeros(0, 4),
            "b16": torch.ones(2, 2, dtype=torch.bfloat16),
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle")
    make_tiny(root)
    vae = root / layout.SVD / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    torch.save(load_file(vae), vae.with_suffix(".bin"))
    vae.unlink()
    return root


@pytest.fixture
def bundle(_bundle: Path, tmp_path: Path) -> Path:
    """A complete folder with pickles of all kinds (``.pth``, ``.pth.tar``, ``.bin``)."""
    return Path(shutil.copytree(_bundle, tmp_path / "bundle"))


def digests(root: Path) -> dict[str, str]:
    """Of every stage that loads a pickle, computed anew."""
    cache = DigestCache(root.parent / "fresh.json")
    cache.path.unlink(missing_ok=True)
    return {stage: stage_digest(root, stage, DigestCache(cache.path)) for stage in STAGES}


def in_use(source: Path) -> Path | None:
    """What is loaded for a checkpoint."""
    return find_in_use(source.parent, [source.name])


def test_conversion_keeps_types_and_values(source: Path) -> None:
    """Both our reader and the library's read back what was there; nothing else is left behind."""
    target = convert_checkpoint(source)
    assert target == source.with_suffix(".safetensors")
    expected = torch.load(source, weights_only=True)
    file = open_weights(target)
    for state in (load_file(target), dict(file.tensors(set(file.shapes)))):
        assert state.keys() == expected.keys()
        for key, value in expected.items():
            assert state[key].dtype == value.dtype, key
            assert torch.equal(state[key], value), key
    assert sorted(path.name for path in source.parent.iterdir()) == [
        "model.pth",
        "model.safetensors",
    ]


def test_equal_sources_give_equal_bytes(source: Path, tmp_path: Path) -> None:
    """At any time and in any folder."""
    (tmp_path / "other").mkdir()
    other = Path(shutil.copy(source, tmp_path / "other"))
    assert convert_checkpoint(source).read_bytes() == convert_checkpoint(other).read_bytes()


def test_converting_changes_no_digest_with_or_without_the_pickles(bundle: Path) -> None:
    """Results that were computed from the pickles are found again."""
    before = digests(bundle)
    sources = list(pickles(bundle))
    assert {path.name for path in sources} == {
        layout.MIMIC_MOTION,
        layout.DISPOSE,
        layout.CMP,
        "diffusion_pytorch_model.fp16.bin",
    }
    for path in sources:
        convert_checkpoint(path)
    assert digests(bundle) == before
    for path in sources:
        path.unlink()
    assert digests(bundle) == before
    verify(bundle, None, "tiny")


def test_what_is_hashed_is_what_is_loaded(bundle: Path) -> None:
    """CMP too comes from its conversion, and the stage's digest is of that file."""
    pickled = find_file(bundle, layout.CMP)
    expected = load_cmp(pickled, device="cpu").state_dict()
    target = convert_checkpoint(pickled)
    for _ in range(2):  # with the pickle beside it, then without
        assert find_file(bundle, layout.CMP) == target
        assert stage_files(bundle, "motion") == [target]
        loaded = load_cmp(find_file(bundle, layout.CMP), device="cpu").state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in expected.items())
        pickled.unlink(missing_ok=True)


def test_networks_come_from_the_conversion(tmp_path: Path) -> None:
    """Also when the source is gone."""
    path = tmp_path / "MimicMotion_1-1.pth"
    expected = tiny_mimic_motion()
    torch.save(expected, path)
    target = convert_checkpoint(path)
    assert in_use(path) == target
    path.unlink()
    assert in_use(path) == target
    unet, _ = load_mimic_motion(target, CONFIG)
    for key, value in unet.state_dict().items():
        assert torch.equal(value, expected[f"unet.{key}"])


def test_in_doubt_the_pickle_is_used(source: Path) -> None:
    """Another time of change or size: the pickle may be another one."""
    target = convert_checkpoint(source)
    os.utime(source, ns=(1, 1))
    assert in_use(source) == source
    assert is_current(convert_checkpoint(source), source)
    status = source.stat()
    source.write_bytes(source.read_bytes() + b"more")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert in_use(source) == source
    assert target.exists()


def test_a_conversion_does_not_hide_a_newer_bin_file(bundle: Path) -> None:
    """Although a published safetensors file of its name would come first."""
    source = next(path for path in pickles(bundle) if path.suffix == ".bin")
    target = convert_checkpoint(source)
    assert target in stage_files(bundle, "mux")
    state = torch.load(source, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, source)
    assert source in stage_files(bundle, "mux")
    assert target not in stage_files(bundle, "mux")


def test_a_file_without_a_record_speaks_for_itself(bundle: Path) -> None:
    """Somebody's own conversion: beside the pickle it is not used, alone it has its own digest."""
    before = digests(bundle)
    pickled = find_file(bundle, layout.CMP)
    file = open_weights(pickled)
    save_file(dict(file.tensors(set(file.shapes))), conversion_path(pickled))
    assert find_file(bundle, layout.CMP) == pickled
    assert digests(bundle) == before
    pickled.unlink()
    assert find_file(bundle, layout.CMP) == conversion_path(pickled)
    after = digests(bundle)
    assert after.pop("motion") != before.pop("motion")
    assert after == before


@pytest.mark.parametrize("damage", ["values", "record", "other tensors"])
def test_a_false_record_is_refused(bundle: Path, damage: str) -> None:
    """No result is kept under the key of a pickle that it was not computed from."""
    pickled = find_file(bundle, layout.CMP)
    target = convert_checkpoint(pickled)
    record = read_record(target)
    assert record is not None
    if damage == "values":
        content = bytearray(target.read_bytes())
        content[-1] ^= 1
        target.write_bytes(content)
    else:
        state = load_file(target)
        if damage == "record":
            record["source_sha256"] = 64 * "a"
        else:
            state = {key: value + 1 for key, value in state.items()}
        save_file(state, target, metadata={RECORD: json.dumps(record)})
    pickled.unlink()
    with pytest.raises(WeightsError, match=r"is not what was converted from ckpt_iter_42000"):
        digests(bundle)


@pytest.mark.parametrize(
    "change",
    [{"version": 1}, {"source": "../model.pth"}, {"source_size": "3"}, {"seal": None}],
)
def test_a_record_that_cannot_be_understood_is_none(
    source: Path, change: dict[str, object]
) -> None:
    """Other versions, paths, wrong types; likewise a damaged file."""
    target = convert_checkpoint(source)
    record = read_record(target)
    assert record is not None
    save_file(load_file(target), target, metadata={RECORD: json.dumps(record | change)})
    assert read_record(target) is None
    target.write_bytes(b"damaged")
    assert read_record(target) is None
    assert in_use(source) == source


def test_names_of_conversions() -> None:
    """Double endings lose both parts."""
    assert conversion_path(Path("x/ckpt_iter_42000.pth.tar")).name == "ckpt_iter_42000.safetensors"
    assert conversion_path(Path("x/MimicMotion_1-1.pth")).name == "MimicMotion_1-1.safetensors"


def test_what_cannot_be_converted_is_an_error(source: Path, tmp_path: Path) -> None:
    """No source, a source in the right format already, a target that cannot be written."""
    with pytest.raises(WeightsError, match="cannot be read"):
        convert_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="no pickled checkpoint"):
        convert_checkpoint(tmp_path / "model.safetensors")
    conversion_path(source).mkdir()
    with pytest.raises(WeightsError, match="cannot be written"):
        convert_checkpoint(source)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pth", "model.safetensors"}


def test_a_truncated_conversion_is_an_error(source: Path) -> None:
    """Cut off after it was opened, or before."""
    target = convert_checkpoint(source)
    file = open_weights(target)
    with target.open("r+b") as raw:
        raw.truncate(target.stat().st_size - 1)
    with pytest.raises(WeightsError, match="ends in the middle"):
        dict(file.tensors(set(file.shapes)))
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        open_weights(target)


def test_the_library_finds_nothing_odd_in_a_conversion(source: Path) -> None:
    """Its own metadata beside ours would come in random order."""
    with safe_open(convert_checkpoint(source), framework="pt") as file:
        assert list(file.metadata()) == [RECORD]


def test_a_tensor_that_shares_memory_in_another_order_is_converted(tmp_path: Path) -> None:
    """A matrix and its transpose, of which the format can hold neither view."""
    matrix = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": matrix, "b": matrix.t()}, tmp_path / "model.pth")
    converted = load_file(convert_checkpoint(tmp_path / "model.pth"))
    assert torch.equal(converted["a"], matrix)
    assert torch.equal(converted["b"], matrix.t())
