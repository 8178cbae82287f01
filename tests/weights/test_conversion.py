from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dispose_stages.errors import WeightsError
from dispose_stages.weights.checkpoints import load_mimic_motion
from dispose_stages.weights.conversion import (
    conversion_path,
    convert_checkpoint,
    execution_order,
    resolve_weights,
)
from dispose_stages.weights.files import open_weights
from tests.models.tiny_networks import CONFIG
from tests.weights.test_checkpoints import tiny_mimic_motion


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    torch.save(
        {
            "a": torch.arange(3, dtype=torch.float16),
            "scalar": torch.tensor(7),
            "turned": torch.arange(6.0).reshape(2, 3).T,
            "empty": torch.zeros(0, 4),
            "b16": torch.ones(2, 2, dtype=torch.bfloat16),
        },
        path,
    )
    return path


def test_conversion_keeps_types_and_values(source: Path) -> None:
    """Both our reader and the library's read back what was there."""
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


def test_tensors_come_in_order_of_execution(tmp_path: Path) -> None:
    """PoseNet, then the UNet: each residual layer before its transformer, samplers last."""
    path = tmp_path / "MimicMotion_1-1.pth"
    torch.save(tiny_mimic_motion(), path)
    with safe_open(convert_checkpoint(path), framework="pt") as file:
        keys = list(file.offset_keys())
    marks = [
        "pose_net.final_proj.weight",
        "unet.conv_in.weight",
        "unet.time_embedding.linear_1.weight",
        "unet.down_blocks.0.resnets.0.spatial_res_block.conv1.weight",
        "unet.down_blocks.0.attentions.0.proj_in.weight",
        "unet.down_blocks.0.resnets.1.spatial_res_block.conv1.weight",
        "unet.down_blocks.0.downsamplers.0.conv.weight",
        "unet.down_blocks.1.resnets.0.spatial_res_block.conv1.weight",
        "unet.mid_block.resnets.0.spatial_res_block.conv1.weight",
        "unet.mid_block.attentions.0.proj_in.weight",
        "unet.mid_block.resnets.1.spatial_res_block.conv1.weight",
        "unet.up_blocks.0.resnets.0.spatial_res_block.conv1.weight",
        "unet.up_blocks.3.attentions.2.proj_out.weight",
        "unet.conv_out.weight",
    ]
    positions = [keys.index(mark) for mark in marks]
    assert positions == sorted(positions)


def test_unknown_keys_keep_their_order() -> None:
    """Checkpoints of other networks stay as they are."""
    keys = ["module.z", "module.a", "step"]
    assert execution_order(keys) == keys


def test_loading_prefers_a_valid_conversion(tmp_path: Path) -> None:
    """The networks come from the conversion, also when the source is gone."""
    path = tmp_path / "MimicMotion_1-1.pth"
    expected = tiny_mimic_motion()
    torch.save(expected, path)
    target = convert_checkpoint(path)
    assert resolve_weights(path) == target
    path.unlink()
    unet, _ = load_mimic_motion(path, CONFIG)
    for key, value in unet.state_dict().items():
        assert torch.equal(value, expected[f"unet.{key}"])


def test_a_stale_conversion_is_not_used(source: Path) -> None:
    """A changed source is told by its digest; a copied one, with a new time, is not changed."""
    target = convert_checkpoint(source)
    os.utime(source, ns=(1, 1))
    assert resolve_weights(source) == target
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    source.write_bytes(content)
    assert resolve_weights(source) == source


def test_a_foreign_safetensors_file_is_not_taken_for_a_conversion(source: Path) -> None:
    """Files of the same name that say nothing of their source, or are damaged."""
    target = conversion_path(source)
    save_file({"a": torch.zeros(1)}, target)
    assert resolve_weights(source) == source
    target.write_bytes(b"damaged")
    assert resolve_weights(source) == source


def test_names_of_conversions() -> None:
    """Double endings lose both parts."""
    assert conversion_path(Path("x/ckpt_iter_42000.pth.tar")).name == "ckpt_iter_42000.safetensors"
    assert conversion_path(Path("x/MimicMotion_1-1.pth")).name == "MimicMotion_1-1.safetensors"


def test_what_cannot_be_converted_is_an_error(source: Path, tmp_path: Path) -> None:
    """No source, a source in the right format already, a target that cannot be written."""
    with pytest.raises(WeightsError, match="cannot be read"):
        convert_checkpoint(tmp_path / "absent.pth")
    target = convert_checkpoint(source)
    with pytest.raises(WeightsError, match="already in the safetensors format"):
        convert_checkpoint(target)
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written"):
        convert_checkpoint(source, tmp_path / "file" / "model.safetensors")


def test_a_truncated_conversion_is_an_error(source: Path) -> None:
    """Cut off after it was opened, or before."""
    target = convert_checkpoint(source)
    file = open_weights(target)
    with target.open("r+b") as raw:
        raw.truncate(target.stat().st_size - 1)
    with pytest.raises(WeightsError, match="ends in the middle"):
        dict(file.tensors(set(file.shapes)))
    with pytest.raises(WeightsError, match="cannot be read"):
        open_weights(target)
