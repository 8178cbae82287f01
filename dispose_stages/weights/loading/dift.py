"""Stable Diffusion 1.5 from its published folder, as far as diffusion features need it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dispose_stages.models.autoencoder import build_latent_encoder
from dispose_stages.models.clip import build_text_encoder
from dispose_stages.models.dift import UP_BLOCK, DiftNetwork, cumulative_signal
from dispose_stages.models.feature_unet import build_feature_unet
from dispose_stages.weights.files import open_weights, read_json
from dispose_stages.weights.fitting import fill, unfilled
from dispose_stages.weights.loading.svd import weight_file

# Published VAE files still have the attention names of diffusers before 0.18.
_AFTER_FEATURE = ("up_blocks.", "conv_norm_out.", "conv_out.")
_DECODING = ("decoder.", "post_quant_conv.")
_OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


def load_dift(
    folder: Path,
    *,
    prompt: str,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    up_block: int = UP_BLOCK,
) -> DiftNetwork:
    """Load Stable Diffusion 1.5 from its published folder.

    Takes fp16 variant files or plain ones, safetensors or (``weights_only``) ``.bin``. The text
    encoder embeds the prompt and is dropped before anything else is loaded.

    Args:
        folder: ``stable-diffusion-v1-5`` with ``unet``, ``vae``, ``text_encoder``, ``tokenizer``
            and ``scheduler``.
        dtype: Of parameters and features.
        up_block: Which up block's output is the feature.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    embedding = embed_prompt(folder, prompt).to(device, dtype)
    config = _config(folder, "vae")
    with unfilled():
        unet = build_feature_unet(_config(folder, "unet"), up_block)
        vae = build_latent_encoder(config)
    _fill_part(unet, folder, "unet", _AFTER_FEATURE, device=device, dtype=dtype)
    _fill_part(vae, folder, "vae", _DECODING, device=device, dtype=dtype)
    signal = cumulative_signal(_config(folder, "scheduler"))
    return DiftNetwork(vae, unet, embedding, signal, float(config.get("scaling_factor", 0.18215)))


def _fill_part(
    part: nn.Module,
    folder: Path,
    name: str,
    rest: tuple[str, ...],
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Read what a part of a network needs; `rest` begins the names of what else is in the file."""
    file = open_weights(weight_file(folder, name))
    fill(
        part,
        file,
        rename=_current_name,
        ignored={_current_name(key) for key in file.shapes if key.startswith(rest)},
        device=device,
        dtype=dtype,
    )


def embed_prompt(folder: Path, prompt: str) -> Float32[Tensor, "1 tokens d"]:
    """Last hidden state of the text encoder, on the CPU in float32."""
    with unfilled():
        encoder = build_text_encoder(_config(folder, "text_encoder"))
    fill(
        encoder,
        open_weights(weight_file(folder, "text_encoder")),
        rename=lambda key: key.removeprefix("text_model."),
        ignored=("embeddings.position_ids",),
        device="cpu",
        dtype=torch.float32,
    )
    with torch.inference_mode():
        embedding: Tensor = encoder(tokenize(folder, prompt, encoder.length))
    return embedding.clone()


def tokenize(folder: Path, prompt: str, length: int) -> Tensor:
    """Token ids ``(1, length)`` of a prompt, padded and cut as the UNet was trained."""
    from dispose_stages.weights.loading.tokenizer import clip_tokenizer

    return torch.tensor([clip_tokenizer(folder / "tokenizer", length).encode(prompt).ids])


def _config(folder: Path, part: str) -> Mapping[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return read_json(folder / part / name)


def _current_name(key: str) -> str:
    parts = key.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)
