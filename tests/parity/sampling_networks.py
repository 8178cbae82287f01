"""Tiny networks with formula weights, from the configurations in a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dispose_stages.models.autoencoder import build_autoencoder
from dispose_stages.models.clip import build_image_encoder
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.pose_net import build_pose_net
from dispose_stages.models.unet import build_unet
from dispose_stages.models.video_decoder import Decoder
from dispose_stages.sample.clip import Networks
from tests.parity.families.networks import fill

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of every published CLIP; the recordings do not repeat them."""


def build_vae(meta: Mapping[str, Any], salt: str) -> Any:
    prefix = meta.get("prefixes", {}).get("vae", "vae.")
    return fill(build_autoencoder(meta["vae_config"]), prefix, salt)


def decoder(vae: Any) -> Decoder:
    """Decodes a chunk as a clip of its own."""

    def decode(chunk: Tensor) -> Tensor:
        decoded: Tensor = vae.decode(chunk, len(chunk))
        return decoded

    return decode


def build_networks(
    meta: Mapping[str, Any], salt: str, *, vae: Any, dtype: torch.dtype = torch.float32
) -> Networks:
    """Everything `sample_clip` needs but the recorded inputs."""
    prefixes = {
        name: meta.get("prefixes", {}).get(name, f"{name}.")
        for name in ("unet", "controlnet", "pose_net", "image_encoder")
    }
    config = meta["unet_config"]
    with torch.device("meta"):
        unet = build_unet(config)
        control_net = build_control_net(config, adapter_channels=meta.get("point_adapter_channels"))
        pose_net = build_pose_net(config["block_out_channels"][0])
    filled: dict[str, nn.Module] = {
        "unet": fill(unet, prefixes["unet"], salt),
        "controlnet": fill(control_net, prefixes["controlnet"], salt),
        "pose_net": fill(pose_net, prefixes["pose_net"], salt),
    }
    vision = build_image_encoder(meta["clip_vision_config"])
    fill(vision, prefixes["image_encoder"], salt)
    for network in filled.values():
        network.to(dtype).requires_grad_(False)
    return Networks(
        unet=filled["unet"],
        control_net=filled["controlnet"],
        pose_net=filled["pose_net"],
        image_embedding=vision,
        posterior_mode=vae.encode,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
        noise_range=tuple(meta["scheduler_config"][name] for name in ("sigma_min", "sigma_max")),
        device=torch.device("cpu"),
        dtype=dtype,
    )
