"""Diffusion features (DIFT) of Stable Diffusion 1.5: the networks, and only what is needed.

Source: algorithm §6 and Tang et al. 2023 (DIFT). Of the VAE only the encoder, of the UNet nothing
after the up block whose output is the feature, and of the text encoder nothing but the embedding of
one prompt are kept. Building blocks and key names are those of diffusers and transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float, Float32
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import open_weights, read_json
from dispose_stages.weights.renamed import load_renamed

UP_BLOCK = 1
"""The up block whose output is the feature (1/16 of the image, 1280 channels in SD 1.5)."""

_WEIGHT_STEMS = {
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "text_encoder": ("model", "pytorch_model"),
}
_WEIGHT_ENDINGS = (".fp16.safetensors", ".safetensors", ".fp16.bin", ".bin")
# Published VAE files still have the attention names of diffusers before 0.18.
_OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


class FeatureUNet(nn.Module):
    """SD's UNet up to one up block; nothing after it exists.

    Args:
        full: The whole network on the meta device.
        up_block: Index of the last up block that is kept.
    """

    def __init__(self, full: nn.Module, up_block: int) -> None:
        super().__init__()
        self.conv_in = full.get_submodule("conv_in")
        self.time_proj = full.get_submodule("time_proj")
        self.time_embedding = full.get_submodule("time_embedding")
        self.down_blocks = nn.ModuleList(full.get_submodule("down_blocks").children())
        self.mid_block = full.get_submodule("mid_block")
        kept = list(full.get_submodule("up_blocks").children())[: up_block + 1]
        self.up_blocks = nn.ModuleList(kept)
        self.eval()

    def forward(
        self,
        latents: Float[Tensor, "b 4 h w"],
        timestep: int,
        context: Float[Tensor, "b tokens d"],
    ) -> Float[Tensor, "b c h_out w_out"]:
        """Output of the last up block that is kept."""
        steps = torch.full((len(latents),), timestep, device=latents.device)
        embedding = self.time_embedding(self.time_proj(steps).to(latents.dtype))
        x = self.conv_in(latents)
        skips = [x]
        for block in self.down_blocks:
            text = {"encoder_hidden_states": context} if _attends(block) else {}
            x, residuals = block(hidden_states=x, temb=embedding, **text)
            skips += residuals
        x = self.mid_block(x, embedding, encoder_hidden_states=context)
        for block in self.up_blocks:
            count = len(list(block.get_submodule("resnets").children()))
            residuals, skips = tuple(skips[-count:]), skips[:-count]
            text = {"encoder_hidden_states": context} if _attends(block) else {}
            x = block(hidden_states=x, res_hidden_states_tuple=residuals, temb=embedding, **text)
        features: Tensor = x
        return features


def _attends(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


class LatentEncoder(nn.Module):
    """The VAE's encoder half; the decoder is never allocated."""

    def __init__(self, full: nn.Module) -> None:
        super().__init__()
        self.encoder = full.get_submodule("encoder")
        self.quant_conv = full.get_submodule("quant_conv")
        self.eval()

    def forward(
        self, image: Float[Tensor, "b 3 height width"]
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 4 h w"]]:
        """Mean and standard deviation of the posterior, unscaled. The image is in [-1, 1]."""
        mean, log_variance = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30.0, 20.0)).exp()


@dataclass(frozen=True, slots=True)
class DiftNetwork:
    """All that turns an image into diffusion features.

    Attributes:
        vae: Image to posterior.
        unet: Noisy latents to features.
        prompt: Embedding of the prompt.
        signal: The scheduler's cumulative products of alpha, per timestep.
        scaling_factor: Of the VAE's latents.
    """

    vae: LatentEncoder
    unet: FeatureUNet
    prompt: Float[Tensor, "1 tokens d"]
    signal: Float32[Tensor, "timesteps"]
    scaling_factor: float

    def posterior(
        self, image: Float[Tensor, "1 3 height width"]
    ) -> tuple[Float[Tensor, "1 4 h w"], Float[Tensor, "1 4 h w"]]:
        """Mean and standard deviation of the latents in the UNet's space."""
        mean, deviation = self.vae(image)
        return mean * self.scaling_factor, deviation * self.scaling_factor

    def noisy(
        self, latents: Float[Tensor, "b 4 h w"], noise: Float[Tensor, "b 4 h w"], timestep: int
    ) -> Float[Tensor, "b 4 h w"]:
        """Latents after `timestep` steps of diffusion with this noise."""
        signal = float(self.signal[timestep])
        return math.sqrt(signal) * latents + math.sqrt(1 - signal) * noise

    def features(
        self, latents: Float[Tensor, "b 4 h w"], timestep: int
    ) -> Float[Tensor, "b c h_out w_out"]:
        """Features of noisy latents."""
        context = self.prompt.expand(len(latents), -1, -1)
        features: Tensor = self.unet(latents, timestep, context)
        return features


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
        prompt: Text condition.
        device: Where the networks go.
        dtype: Of parameters and features.
        up_block: Which up block's output is the feature.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    embedding = embed_prompt(folder, prompt).to(device, dtype)
    whole_unet = _on_meta(UNet2DConditionModel, _config(folder, "unet"))
    unet = FeatureUNet(whole_unet, up_block)
    _load_part(unet, whole_unet, folder, "unet", device=device, dtype=dtype)
    whole_vae = _on_meta(AutoencoderKL, _config(folder, "vae"))
    vae = LatentEncoder(whole_vae)
    _load_part(vae, whole_vae, folder, "vae", device=device, dtype=dtype)
    signal = cumulative_signal(_config(folder, "scheduler"))
    return DiftNetwork(vae, unet, embedding, signal, float(whole_vae.config.scaling_factor))


def cumulative_signal(config: Mapping[str, Any]) -> Float32[Tensor, "timesteps"]:
    """Cumulative products of alpha of a scheduler config, whatever its class, read as DDIM."""
    scheduler: Any = DDIMScheduler
    alphas: Tensor = scheduler.from_config(dict(config)).alphas_cumprod
    return alphas


def _on_meta(network: Any, config: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        return network.from_config(dict(config))


def _load_part(
    part: nn.Module,
    whole: nn.Module,
    folder: Path,
    name: str,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Read what a part of a network needs; the file may hold the whole and nothing else."""
    load_renamed(
        part,
        open_weights(_weight_file(folder, name)),
        rename=_current_name,
        others=whole.state_dict().keys(),
        device=device,
        dtype=dtype,
    )


def embed_prompt(folder: Path, prompt: str) -> Float32[Tensor, "1 tokens d"]:
    """Last hidden state of the text encoder, on the CPU in float32."""
    config = CLIPTextConfig(**_config(folder, "text_encoder"))
    with torch.device("meta"):
        encoder: Any = CLIPTextModel(config)
    load_renamed(
        encoder,
        open_weights(_weight_file(folder, "text_encoder")),
        rename=lambda key: key.removeprefix("text_model."),
        others=("embeddings.position_ids",),
        device="cpu",
        dtype=torch.float32,
    )
    # A buffer that is not in the state dict; meta tensors have no values.
    positions = torch.arange(config.max_position_embeddings)[None]
    encoder.get_submodule("embeddings").register_buffer("position_ids", positions, persistent=False)
    with torch.inference_mode():
        embedding: Tensor = encoder(tokenize(folder, prompt, positions.shape[1]))[0]
    return embedding.clone()


def tokenize(folder: Path, prompt: str, length: int) -> Tensor:
    """Token ids ``(1, length)`` of a prompt, padded and cut as the UNet was trained."""
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{folder / 'tokenizer'}: no tokenizer: {error}") from error
    tokens = tokenizer(
        prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    ids: Tensor = tokens.input_ids
    return ids


def _weight_file(folder: Path, part: str) -> Path:
    for ending in _WEIGHT_ENDINGS:
        for stem in _WEIGHT_STEMS[part]:
            path = folder / part / f"{stem}{ending}"
            if path.is_file():
                return path
    raise WeightsError(f"{folder / part}: no {_WEIGHT_STEMS[part][0]}.fp16.safetensors")


def _config(folder: Path, part: str) -> Mapping[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return read_json(folder / part / name)


def _current_name(key: str) -> str:
    parts = key.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)
