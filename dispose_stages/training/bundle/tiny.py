"""Write the tiny bundle: every file of the published layout, the same networks, small widths.

All networks have random weights except the pose pair, which was trained on procedural figures
(`dispose_stages.training.bundle.train_pose`). So pose, alignment and sparse motion of the demo mean
something and the videos show noise.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNet2DConditionModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from dispose_stages.atomic import write_text
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.models.control_net import build_control_net
from dispose_stages.models.pose_net import build_pose_net
from dispose_stages.models.unet import build_unet
from dispose_stages.training import tiny_configs as configs
from dispose_stages.training.bundle.files import (
    save_json,
    save_pickle,
    save_tensors,
    training_checkpoint,
)
from dispose_stages.training.bundle.random_state import random_state
from dispose_stages.training.bundle.vocabulary import (
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG,
    build_vocabulary,
)
from dispose_stages.weights.bundle import MARKER, TINY, write_marker
from dispose_stages.weights.layout import (
    CMP,
    DETECTOR,
    DISPOSE,
    MIMIC_MOTION,
    SD15,
    SVD,
    WHOLE_BODY,
)

_HALF = "fp16.safetensors"
_VAE_GAINS = {"decoder.conv_out.": 0.8}
# Guidance shows in the output without drowning the base network.
_CONTROL_GAINS = {"controlnet_down_blocks.": 0.2, "controlnet_mid_block.": 0.2}
_CMP_GAINS = {"image_encoder.conv5.": 0.05, "flow_encoder.": 1.5, "flow_decoder.": 1.4}
_POSE_GAINS = {"conv_layers.": 1.8}


def make_tiny(root: Path, *, seed: int = 0) -> None:
    """Write the bundle into a folder; the same bytes for the same seed.

    Args:
        root: Written into; files of the bundle are replaced.
    """
    root.mkdir(parents=True, exist_ok=True)
    # The marker says that the bundle is whole, so it goes first and comes last.
    (root / MARKER).unlink(missing_ok=True)
    _write_svd(root / SVD, seed)
    _write_sd15(root / SD15, seed)
    _write_diffusion(root, seed)
    _write_cmp(root / CMP, seed)
    for name in (DETECTOR, WHOLE_BODY):
        _write_pose_network(root / name)
    write_marker(root, TINY, seed=seed, note="random weights: the videos show noise")


def _write_svd(folder: Path, seed: int) -> None:
    save_json(folder / "model_index.json", configs.MODEL_INDEX["svd"])
    save_json(folder / "unet" / "config.json", configs.SVD_UNET)
    save_json(folder / "scheduler" / "scheduler_config.json", configs.SVD_SCHEDULER)
    save_json(folder / "feature_extractor" / "preprocessor_config.json", configs.FEATURE_EXTRACTOR)
    with torch.device("meta"):
        vae = AutoencoderKLTemporalDecoder.from_config(configs.SVD_VAE)  # type: ignore[no-untyped-call]
        encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig.from_dict(configs.SVD_IMAGE_ENCODER)
        )
    save_json(folder / "vae" / "config.json", configs.SVD_VAE)
    state = random_state(vae, seed=seed, name="vae", gains=_VAE_GAINS, dtype=torch.float16)
    save_tensors(folder / "vae" / f"diffusion_pytorch_model.{_HALF}", state)
    save_json(folder / "image_encoder" / "config.json", configs.SVD_IMAGE_ENCODER)
    state = random_state(encoder, seed=seed, name="image_encoder", dtype=torch.float16)
    save_tensors(folder / "image_encoder" / f"model.{_HALF}", state)


def _write_sd15(folder: Path, seed: int) -> None:
    vocabulary, merges = build_vocabulary()
    text_config = configs.sd_text_encoder(len(vocabulary))
    save_json(folder / "model_index.json", configs.MODEL_INDEX["sd15"])
    save_json(folder / "scheduler" / "scheduler_config.json", configs.SD_SCHEDULER)
    save_json(folder / "feature_extractor" / "preprocessor_config.json", configs.FEATURE_EXTRACTOR)
    tokenizer = folder / "tokenizer"
    save_json(tokenizer / "vocab.json", vocabulary)
    write_text(tokenizer / "merges.txt", merges)
    save_json(tokenizer / "tokenizer_config.json", TOKENIZER_CONFIG)
    save_json(tokenizer / "special_tokens_map.json", SPECIAL_TOKENS)
    with torch.device("meta"):
        networks: dict[str, tuple[nn.Module, dict[str, Any], str]] = {
            "unet": (
                UNet2DConditionModel.from_config(configs.SD_UNET),  # type: ignore[no-untyped-call]
                configs.SD_UNET,
                "diffusion_pytorch_model",
            ),
            "vae": (
                AutoencoderKL.from_config(configs.SD_VAE),  # type: ignore[no-untyped-call]
                configs.SD_VAE,
                "diffusion_pytorch_model",
            ),
            "text_encoder": (
                CLIPTextModel(CLIPTextConfig.from_dict(text_config)),
                text_config,
                "model",
            ),
        }
    for part, (network, config, stem) in networks.items():
        save_json(folder / part / "config.json", config)
        state = random_state(network, seed=seed, name=f"sd.{part}", dtype=torch.float16)
        if part == "text_encoder":
            # transformers 5 dropped this prefix in memory; published files have it.
            prefix = "text_model."
            state = {prefix + k.removeprefix(prefix): v for k, v in state.items()}
        save_tensors(folder / part / f"{stem}.{_HALF}", state)


def _write_diffusion(root: Path, seed: int) -> None:
    """``MimicMotion_1-1.pth`` in float16 and ``DisPose.pth`` in float32, as published."""
    with torch.device("meta"):
        unet = build_unet(configs.SVD_UNET)
        control_net = build_control_net(configs.SVD_UNET, configs.POINT_CHANNELS)
        pose_net = build_pose_net(configs.SVD_UNET["block_out_channels"][0])
    half = torch.float16
    base: dict[str, Tensor] = OrderedDict()
    for name, network in (("unet", unet), ("pose_net", pose_net)):
        gains = _POSE_GAINS if name == "pose_net" else None
        state = random_state(network, seed=seed, name=name, gains=gains, dtype=half)
        base.update({f"{name}.{key}": value for key, value in state.items()})
    save_pickle(root / MIMIC_MOTION, base)
    state = random_state(control_net, seed=seed, name="control_net", gains=_CONTROL_GAINS)
    save_pickle(root / DISPOSE, OrderedDict(state))


def _write_cmp(path: Path, seed: int) -> None:
    with torch.device("meta"):
        network = CmpNetwork(configs.CMP_WIDTHS)
    state = random_state(network, seed=seed, name="cmp", gains=_CMP_GAINS)
    save_pickle(path, training_checkpoint(state))


def _write_pose_network(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = resources.files("dispose_stages.training.bundle") / "data" / path.name
    with source.open("rb") as stream, path.open("wb") as target:
        shutil.copyfileobj(stream, target)
