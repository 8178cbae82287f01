"""The published checkpoints of MimicMotion and DisPose (algorithm §0)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dispose_stages.models.control_net import ControlNet, build_control_net
from dispose_stages.models.pose_net import PoseNet, build_pose_net
from dispose_stages.models.unet import SpatioTemporalUNet, build_unet
from dispose_stages.weights import layout
from dispose_stages.weights.files import WeightFile, open_weights, read_json
from dispose_stages.weights.fitting import fill, unfilled
from dispose_stages.weights.verification import find_file

_logger = logging.getLogger(__name__)
# MimicMotion's file may hold these too; the ones of the SVD folder are used.
_FROM_SVD = ("vae.", "image_encoder.")
_POINT_MLP = "point_adapter.model_list.{level}.mlp.{layer}.weight"


def load_diffusion_networks(
    root: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[SpatioTemporalUNet, PoseNet, ControlNet]:
    """Load everything that a denoising step runs, frozen and in evaluation mode.

    Args:
        root: ``models.root``.
        dtype: Of all parameters; as in the files if None (MimicMotion: float16, DisPose: float32).

    Raises:
        WeightsError: A file is missing, unsafe to read or does not fit; names all that is wrong
            with it.
    """
    config = read_unet_config(root / layout.SVD)
    unet, pose_net = load_mimic_motion(
        find_file(root, layout.MIMIC_MOTION), config, dtype=dtype, device=device
    )
    control_net = load_control_net(
        find_file(root, layout.DISPOSE), config, unet=unet, dtype=dtype, device=device
    )
    return unet, pose_net, control_net


def read_unet_config(svd: Path) -> dict[str, Any]:
    """The UNet's configuration in the SVD folder.

    Raises:
        WeightsError: It is not there or not JSON.
    """
    return read_json(svd / "unet" / "config.json")


def load_mimic_motion(
    path: Path,
    unet_config: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> tuple[SpatioTemporalUNet, PoseNet]:
    """UNet (``unet.*``) and PoseNet (``pose_net.*``) of ``MimicMotion_1-1.pth``."""
    file = open_weights(path)
    with unfilled():
        unet = build_unet(unet_config)
        pose_net = build_pose_net(unet.conv_in.out_channels)
    ignored = {key for key in file.shapes if key.startswith(_FROM_SVD)}
    if ignored:
        _logger.info(
            "%s: %d tensors of the VAE and the image encoder are ignored; those of the SVD folder "
            "are used",
            file.path,
            len(ignored),
        )
    both = nn.ModuleDict({"unet": unet, "pose_net": pose_net})
    fill(both, file, dtype=dtype, device=device, ignored=ignored)
    return unet, pose_net


def load_control_net(
    path: Path,
    unet_config: Mapping[str, Any],
    *,
    unet: SpatioTemporalUNet | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> ControlNet:
    """The hybrid ControlNet of ``DisPose.pth``, over one initialised from the UNet's encoder.

    The original copies the encoder of MimicMotion's UNet and then loads the file over it. So
    tensors that the file lacks keep the UNet's values, where the original copies them
    (`copied_from_unet`); any other missing tensor is an error.

    Args:
        unet: Loaded UNet to take missing tensors from.
        dtype: Of all parameters; as in the file if None.
    """
    file = open_weights(path)
    with unfilled():
        net = build_control_net(unet_config, **_adapter_sizes(file))
    source = unet.state_dict() if unet is not None else {}
    copied = copied_from_unet(net, unet) - file.shapes.keys() if unet is not None else set()
    if copied:
        _logger.warning("%s lacks %d tensors; they keep the UNet's values", path, len(copied))
    fallback = {key: source[key].detach().clone() for key in copied}
    fill(net, file, dtype=dtype, device=device, fallback=fallback)
    return net


def copied_from_unet(control_net: ControlNet, unet: SpatioTemporalUNet) -> set[str]:
    """Parameters that a fresh ControlNet takes from the UNet.

    Input convolution, time embedding, down blocks and mid block. The embedding of the added time
    ids is not among them in the original.
    """
    parts = ("conv_in.", "time_embedding.", "down_blocks.", "mid_block.")
    return {
        key
        for key in control_net.state_dict().keys() & unet.state_dict().keys()
        if key.startswith(parts)
    }


def _adapter_sizes(file: WeightFile) -> dict[str, Any]:
    """Sizes of the point adapter, which no configuration file holds."""
    widths: list[int] = []
    while (key := _POINT_MLP.format(level=len(widths), layer=2)) in file.shapes:
        widths.append(file.shapes[key][0])
    first = file.shapes.get(_POINT_MLP.format(level=0, layer=0))
    # Without either, the published sizes make the error name what is missing.
    sizes: dict[str, Any] = {"point_channels": first[1]} if first and len(first) == 2 else {}
    return sizes | ({"adapter_channels": widths} if widths else {})
