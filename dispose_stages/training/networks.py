"""The networks of the small bundle, new or as an earlier step of the training left them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dispose_stages.atomic import replacing
from dispose_stages.errors import ConfigError
from dispose_stages.models.autoencoder import TemporalAutoencoder, build_autoencoder
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.models.control_net import ControlNet, build_control_net
from dispose_stages.models.pose_net import PoseNet, build_pose_net
from dispose_stages.models.unet import SpatioTemporalUNet, build_unet
from dispose_stages.training import small_configs as configs
from dispose_stages.training.parallel import rank

SCALING_FACTOR: float = configs.SVD_VAE["scaling_factor"]


def new_vae() -> TemporalAutoencoder:
    """The VAE with fresh weights."""
    return build_autoencoder(configs.SVD_VAE)


def new_base() -> tuple[SpatioTemporalUNet, PoseNet]:
    """UNet and PoseNet with fresh weights."""
    unet = build_unet(configs.SVD_UNET)
    return unet, build_pose_net(unet.conv_in.out_channels)


def new_control_net() -> ControlNet:
    """The ControlNet with fresh weights."""
    return build_control_net(configs.SVD_UNET, configs.POINT_CHANNELS)


def new_cmp() -> CmpNetwork:
    """CMP with fresh weights."""
    return CmpNetwork(configs.CMP_WIDTHS)


def save_weights(path: Path, **modules: nn.Module) -> None:
    """Write state dicts by name, atomically; of several processes the first one does."""
    if rank() != 0:
        return
    content = {
        name: {key: value.detach().cpu() for key, value in module.state_dict().items()}
        for name, module in modules.items()
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load_weights(path: Path, **modules: nn.Module) -> None:
    """Fill modules from what `save_weights` wrote.

    Raises:
        ConfigError: The file is not there: an earlier step of the training is missing.
    """
    try:
        content: dict[str, dict[str, Tensor]] = torch.load(path, weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is not there; run the earlier steps of training") from error
    for name, module in modules.items():
        module.load_state_dict(content[name])
