from __future__ import annotations

import json
import logging
import os
import traceback
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from dispose_stages.errors import WeightsError
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.pose_net import build_pose_net
from dispose_stages.weights.conversion import convert_checkpoint
from dispose_stages.weights.loading.diffusion import (
    load_control_net,
    load_diffusion_networks,
    load_mimic_motion,
    read_unet_config,
)
from tests.models.manifests import hollow_state, manifest
from tests.models.tiny_networks import CONFIG, randomized, tiny_unet


class Files(NamedTuple):
    """Where a test's networks are."""

    svd: Path
    mimic_motion: Path
    dispose: Path


def official_config() -> dict[str, Any]:
    return dict(manifest("DisPose_controlnet")["config"])


def tiny_mimic_motion() -> dict[str, Tensor]:
    return dict(_mimic_motion_state())


@cache
def _mimic_motion_state() -> dict[str, Tensor]:
    unet, pose_net = tiny_unet().float(), build_pose_net(32)
    randomized(pose_net, seed=8)
    state = {f"unet.{key}": value for key, value in unet.state_dict().items()}
    return state | {f"pose_net.{key}": value for key, value in pose_net.state_dict().items()}


def tiny_dispose() -> dict[str, Tensor]:
    return dict(_dispose_state())


@cache
def _dispose_state() -> dict[str, Tensor]:
    net = build_control_net(CONFIG, point_channels=24, adapter_channels=[32, 64, 64, 64])
    return dict(randomized(net, seed=9).state_dict())


@pytest.fixture
def folder(tmp_path: Path) -> Files:
    """Files of a tiny model, laid out as the published ones."""
    svd = tmp_path / "stable-video-diffusion-img2vid-xt-1-1"
    (svd / "unet").mkdir(parents=True)
    config = CONFIG | {"_class_name": "UNetSpatioTemporalConditionModel", "sample_size": 8}
    (svd / "unet" / "config.json").write_text(json.dumps(config))
    files = Files(svd, tmp_path / "MimicMotion_1-1.pth", tmp_path / "DisPose.pth")
    torch.save(tiny_mimic_motion(), files.mimic_motion)
    torch.save(tiny_dispose(), files.dispose)
    return files


def test_published_mimic_motion_file_is_loaded_whole(tmp_path: Path) -> None:
    """A file with the exact keys and shapes of the published one fits, without being copied."""
    path = tmp_path / "MimicMotion_1-1.pth"
    state = hollow_state("MimicMotion_unet_posenet", torch.float16)
    torch.save(state, path)
    unet, pose_net = load_mimic_motion(path, official_config())
    for prefix, network in (("unet.", unet), ("pose_net.", pose_net)):
        for key, value in network.state_dict().items():
            assert value.dtype == torch.float16
            assert value.shape == state[prefix + key].shape
            assert value.flatten()[0] == state[prefix + key].flatten()[0]


def test_published_dispose_file_is_loaded_whole(tmp_path: Path) -> None:
    """The same for DisPose, whose point adapter's sizes come from the file."""
    path = tmp_path / "DisPose.pth"
    state = hollow_state("DisPose_controlnet", torch.float32)
    torch.save(state, path)
    net = load_control_net(path, official_config())
    assert net.state_dict().keys() == state.keys()
    assert len(net.point_adapter.model_list) == 4
    assert all(not value.requires_grad and not value.is_meta for value in net.parameters())


def test_networks_of_a_folder_carry_its_values(folder: Files) -> None:
    """All three networks are frozen, in evaluation mode, cast, and hold the files' values."""
    unet, pose_net, control_net = load_diffusion_networks(folder.svd.parent, dtype=torch.bfloat16)
    expected = tiny_mimic_motion()
    for key, value in unet.state_dict().items():
        assert torch.equal(value, expected[f"unet.{key}"].bfloat16()), key
    expected = tiny_dispose()
    for key, value in control_net.state_dict().items():
        assert torch.equal(value, expected[key].bfloat16()), key
    assert not pose_net.training


def test_vae_and_image_encoder_in_the_file_are_ignored_and_named(
    folder: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """MimicMotion's file may repeat parts of the SVD folder."""
    extra = {"vae.conv.weight": torch.zeros(1), "image_encoder.bias": torch.zeros(1)}
    torch.save(tiny_mimic_motion() | extra, folder.mimic_motion)
    with caplog.at_level(logging.INFO, logger="dispose_stages"):
        load_mimic_motion(folder.mimic_motion, CONFIG)
    assert "2 tensors of the VAE and the image encoder are ignored" in caplog.text


def test_all_problems_of_a_file_come_in_one_error(folder: Files) -> None:
    """Missing, unexpected and misshapen tensors are all named, of both networks."""
    state = tiny_mimic_motion()
    del state["unet.conv_in.weight"], state["pose_net.scale"]
    state["unet.conv_out.bias"] = torch.zeros(5)
    state["unet.surprise"] = torch.zeros(1)
    torch.save(state, folder.mimic_motion)
    with pytest.raises(WeightsError) as caught:
        load_mimic_motion(folder.mimic_motion, CONFIG)
    message = str(caught.value)
    assert "2 missing unet.conv_in.weight, pose_net.scale" in message
    assert "1 unexpected unet.surprise" in message
    assert "unet.conv_out.bias is [5] instead of [4]" in message
    assert "MimicMotion_1-1.pth" in message
    assert "\n" not in message


def test_missing_encoder_tensors_keep_the_unets_values(folder: Files) -> None:
    """As in the original, where the file is loaded over a copy of the UNet's encoder."""
    state = tiny_dispose()
    key = "down_blocks.1.resnets.0.spatial_res_block.conv1.weight"
    del state[key]
    torch.save(state, folder.dispose)
    unet, _, control_net = load_diffusion_networks(folder.svd.parent)
    taken = control_net.state_dict()[key]
    assert torch.equal(taken, unet.state_dict()[key])
    assert taken.data_ptr() != unet.state_dict()[key].data_ptr()
    with pytest.raises(WeightsError, match="1 missing down_blocks"):
        load_control_net(folder.dispose, CONFIG)


@pytest.mark.parametrize(
    "key",
    [
        "add_embedding.linear_1.weight",  # the UNet has one, but the original does not copy it
        "controlnet_mid_block.bias",
        "point_adapter.model_list.2.mlp.2.bias",
        "controlnet_cond_embedding.conv_final.weight",
    ],
)
def test_other_missing_tensors_are_errors(folder: Files, key: str) -> None:
    """Only what the original copies from the UNet may be missing."""
    state = tiny_dispose()
    del state[key]
    torch.save(state, folder.dispose)
    with pytest.raises(WeightsError, match=f"1 missing {key}"):
        load_diffusion_networks(folder.svd.parent)


class _Payload:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(
    folder: Files, tmp_path: Path, old_format: bool
) -> None:
    """Whatever a file would run on unpickling is not run."""
    mark = tmp_path / "executed"
    torch.save(
        tiny_mimic_motion() | {"unet.x": _Payload(mark)},
        folder.mimic_motion,
        _use_new_zipfile_serialization=not old_format,
    )
    for load in (load_mimic_motion, lambda path, _: convert_checkpoint(path)):
        with pytest.raises(WeightsError, match="could run code; nothing of it was run") as caught:
            load(folder.mimic_motion, CONFIG)
        # PyTorch's own message advises to switch the protection off.
        shown = "".join(traceback.format_exception(caught.value))
        assert "weights_only" not in shown
        assert "dispose weights list" in shown
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04not a pickle", b"PK\x03\x04broken"])
def test_damaged_files_are_errors_of_one_line(folder: Files, content: bytes) -> None:
    """Empty, foreign and truncated files."""
    folder.mimic_motion.write_bytes(content)
    with pytest.raises(WeightsError, match=r"MimicMotion_1-1\.pth"):
        load_mimic_motion(folder.mimic_motion, CONFIG)


def test_missing_files_are_named(folder: Files, tmp_path: Path) -> None:
    """A checkpoint or configuration that is not there."""
    with pytest.raises(WeightsError, match=r"absent\.pth: cannot be read: No such file"):
        load_mimic_motion(tmp_path / "absent.pth", CONFIG)
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read"):
        read_unet_config(tmp_path)
    (folder.svd / "unet" / "config.json").write_text("[1, 2]")
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read"):
        read_unet_config(folder.svd)


def test_a_pickle_of_something_else_is_no_state_dict(tmp_path: Path) -> None:
    """Numbers and lists are no checkpoint."""
    torch.save({"step": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="not a state dict of tensors"):
        load_mimic_motion(tmp_path / "a.pth", CONFIG)
