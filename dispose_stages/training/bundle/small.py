"""Write the small bundle: the tiny one's files, with trained networks in place of random ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dispose_stages.models.dift import UP_BLOCK
from dispose_stages.models.feature_unet import build_feature_unet
from dispose_stages.training import networks
from dispose_stages.training import small_configs as configs
from dispose_stages.training.bundle.files import (
    save_json,
    save_pickle,
    save_tensors,
    training_checkpoint,
)
from dispose_stages.training.bundle.random_state import random_state
from dispose_stages.training.bundle.tiny import make_tiny
from dispose_stages.training.control import initialise_control_net
from dispose_stages.training.features import mean_encoder
from dispose_stages.weights.bundle import MARKER, write_marker
from dispose_stages.weights.converted import conversion_path
from dispose_stages.weights.layout import CMP, DISPOSE, MIMIC_MOTION, SD15, SVD

SMALL = "small"
_HALF = "fp16.safetensors"


def write_bundle(root: Path, training: Path, *, highest_sigma: float, **details: object) -> None:
    """Write the bundle; steps of the training that were left out stay random.

    Args:
        training: Working folder of the training.
        details: For the marker: how long everything was trained.
    """
    states = read_states(training)
    start_bundle(root, states["features"])
    svd = root / SVD
    scheduler = configs.SVD_SCHEDULER | {"sigma_max": highest_sigma}
    save_json(svd / "scheduler" / "scheduler_config.json", scheduler)
    save_json(svd / "unet" / "config.json", configs.SVD_UNET)
    save_json(svd / "vae" / "config.json", configs.SVD_VAE)
    save_json(svd / "image_encoder" / "config.json", configs.SVD_IMAGE_ENCODER)
    save_tensors(svd / "vae" / f"diffusion_pytorch_model.{_HALF}", _half(states["vae"]))
    save_tensors(svd / "image_encoder" / f"model.{_HALF}", _half(states["image_encoder"]))
    base = {f"unet.{k}": v for k, v in states["unet"].items()}
    base |= {f"pose_net.{k}": v for k, v in states["pose_net"].items()}
    _save_checkpoint(root / MIMIC_MOTION, base)
    _save_checkpoint(root / DISPOSE, states["control_net"])
    save_pickle(root / CMP, training_checkpoint(_half(states["cmp"])))
    write_marker(root, SMALL, **details)


def start_bundle(root: Path, features: Mapping[str, Tensor] | None = None) -> None:
    """The tiny bundle without its marker and with an extractor of diffusion features.

    What nothing reads, the VAE's decoder and the UNet after the feature, is left out, but for the
    layer by which a VAE is told from other files.

    Args:
        features: State of the trained `FeatureUNet`; random weights if None.
    """
    make_tiny(root)
    (root / MARKER).unlink()
    if features is None:
        with torch.device("meta"):
            network = build_feature_unet(configs.SD_UNET, UP_BLOCK)
        features = random_state(network, seed=0, name="sd.unet")
    mark = {"post_quant_conv.weight": torch.eye(4)[..., None, None]}
    encoder = {**mean_encoder().state_dict(), **mark, "post_quant_conv.bias": torch.zeros(4)}
    parts = {"unet": (configs.SD_UNET, features), "vae": (configs.SD_VAE, encoder)}
    for part, (config, state) in parts.items():
        save_json(root / SD15 / part / "config.json", config)
        save_tensors(root / SD15 / part / f"diffusion_pytorch_model.{_HALF}", _half(state))


def read_states(training: Path) -> dict[str, dict[str, Tensor]]:
    """State dicts by the names of `write_bundle`: trained, or new where a step was left out."""
    vae = "decoder" if (training / "decoder.pt").exists() else "vae"
    states = _read(training / f"{vae}.pt") | _read(training / "image_encoder.pt")
    states |= _read(training / "base.pt") | _read(training / "features.pt")
    if (training / "cmp.pt").exists():
        states |= _read(training / "cmp.pt")
    else:
        states["cmp"] = networks.new_cmp().state_dict()
    if (training / "control.pt").exists():
        states |= _read(training / "control.pt")
    else:
        states["control_net"] = _idle_control_net(states["unet"])
    return states


def _idle_control_net(unet_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A ControlNet that adds nothing to the base."""
    unet, _ = networks.new_base()
    unet.load_state_dict(unet_state)
    control_net = networks.new_control_net()
    initialise_control_net(control_net, unet)
    return control_net.state_dict()


def bundle_size(root: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    content: dict[str, dict[str, Tensor]] = torch.load(path, weights_only=True)
    return content


def _half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in state.items()
    }


def _save_checkpoint(path: Path, state: dict[str, Tensor]) -> None:
    conversion_path(path).unlink(missing_ok=True)
    save_pickle(path, OrderedDict(_half(state)))
