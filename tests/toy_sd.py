"""A Stable Diffusion folder of toy size, in every form the published one comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.parity.families.correspondence import write_sd_folder

PREFIXES = {"unet": "sd.unet.", "vae": "sd.vae.", "text_encoder": "sd.text_encoder."}
_BLOCKS = ("CrossAttnDownBlock2D",) * 3
UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": [*_BLOCKS, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *("CrossAttnUpBlock2D",) * 3],
    "block_out_channels": [8, 16, 16, 16],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 64,
}
FULL_UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
FULL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def write_tokenizer(folder: Path) -> int:
    """A byte-level vocabulary with a few merges; returns its size."""
    folder.mkdir(parents=True)
    letters = list(bytes_to_unicode().values())
    merges = [("p", "h"), ("ph", "o"), ("t", "o</w>"), ("pho", "to</w>"), ("o", "f</w>")]
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(m) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(words)


def write_toy_sd(folder: Path, *, full_size: bool = False) -> Path:
    """The folder in plain float32 safetensors; UNet and VAE of SD 1.5's own widths on request."""
    unet, vae, hidden = UNET, VAE, 16
    if full_size:
        hidden = 768
        unet = UNET | FULL_UNET
        vae = VAE | FULL_VAE
    size = write_tokenizer(folder.parent / "toy_tokenizer")
    text: Mapping[str, Any] = {
        "vocab_size": size,
        "hidden_size": hidden,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "projection_dim": 16,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
    }
    write_sd_folder(
        folder,
        {"unet": unet, "vae": vae, "text_encoder": text, "scheduler": SCHEDULER},
        folder.parent / "toy_tokenizer",
        prefixes=PREFIXES,
        salt="toy",
    )
    return folder


def rewrite_weights(folder: Path, *, dtype: torch.dtype, ending: str) -> None:
    """Bring every weight file into another published form, ``.fp16.safetensors`` for instance."""
    for path in list(folder.glob("*/*.safetensors")):
        state = {key: value.to(dtype) for key, value in load_file(path).items()}
        path.unlink()
        if ending.endswith("bin"):
            stem = "pytorch_model" if path.stem == "model" else path.stem
            torch.save(state, path.with_name(stem + ending))
        else:
            save_file(state, path.with_name(path.stem + ending))
