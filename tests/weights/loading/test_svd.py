from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dispose_stages.errors import WeightsError
from dispose_stages.weights.loading.svd import (
    load_image_encoder,
    load_image_normalization,
    load_noise_range,
    load_vae,
    weight_file,
)
from tests.models.manifests import hollow_state, manifest

VAE = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "_diffusers_version": "0.24.0.dev0",
    "block_out_channels": [32],
    "down_block_types": ["DownEncoderBlock2D"],
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "out_channels": 3,
    "sample_size": 768,
    "scaling_factor": 0.18215,
}
CLIP = {
    "architectures": ["CLIPVisionModelWithProjection"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 16,
}


def write_part(svd: Path, part: str, config: dict[str, Any], name: str, state: Any) -> None:
    (svd / part).mkdir(parents=True, exist_ok=True)
    (svd / part / "config.json").write_text(json.dumps(config))
    path = svd / part / name
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)


def tiny_vae() -> nn.Module:
    names = {key: value for key, value in VAE.items() if not key.startswith("_")}
    return AutoencoderKLTemporalDecoder(**names).eval()


def tiny_clip() -> nn.Module:
    config = {key: value for key, value in CLIP.items() if key != "architectures"}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).eval()


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.bin",
        "diffusion_pytorch_model.bin",
    ],
)
@torch.no_grad()
def test_vae_is_loaded_from_any_published_file_kind(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half or full precision, safetensors or pickle, without remarks in the log."""
    reference = tiny_vae()
    write_part(tmp_path, "vae", VAE | {"of_another_version": 1}, name, reference.state_dict())
    vae = load_vae(tmp_path, dtype=torch.float32)
    image = torch.rand(1, 3, 16, 16)
    latent = vae.encode(image)
    assert torch.equal(latent, reference.encode(image).latent_dist.mode())
    expected = reference.decode(latent, num_frames=1).sample
    torch.testing.assert_close(vae.decode(latent, 1), expected, rtol=1e-5, atol=1e-5)
    assert not caplog.records
    assert not vae.training


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "pytorch_model.bin"])
@torch.no_grad()
def test_image_encoder_is_loaded_with_its_positions(tmp_path: Path, name: str) -> None:
    """Also from files that still hold the position ids, which are a constant."""
    reference = tiny_clip()
    state = reference.state_dict() | {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    write_part(tmp_path, "image_encoder", CLIP, name, state)
    encoder = load_image_encoder(tmp_path)
    image = torch.rand(1, 3, 28, 28)
    assert torch.equal(encoder(image), reference(image).image_embeds)


def test_half_precision_files_come_first(tmp_path: Path) -> None:
    """As the original reads them."""
    state = tiny_vae().state_dict()
    write_part(tmp_path, "vae", VAE, "diffusion_pytorch_model.safetensors", state)
    half = {key: value.half() for key, value in state.items()}
    write_part(tmp_path, "vae", VAE, "diffusion_pytorch_model.fp16.safetensors", half)
    assert load_vae(tmp_path).quant_conv.weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("vae", "diffusion_pytorch_model.fp16.bin"),
        ("image_encoder", "pytorch_model.fp16.bin"),
    ],
)
def test_published_files_fit(tmp_path: Path, part: str, file: str) -> None:
    """Files with the exact keys and shapes of the published ones."""
    name = f"svd_{part}"
    state = hollow_state(name, torch.float16)
    write_part(tmp_path, part, manifest(name)["config"], file, state)
    network = (load_vae if part == "vae" else load_image_encoder)(tmp_path)
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(loaded[key].flatten()[0] == value.flatten()[0] for key, value in state.items())


def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """Every difference is named."""
    state = tiny_vae().state_dict()
    del state["encoder.conv_in.weight"]
    state["new"] = torch.zeros(1)
    write_part(tmp_path, "vae", VAE, "diffusion_pytorch_model.safetensors", state)
    with pytest.raises(WeightsError, match=r"1 missing encoder.conv_in.weight; 1 unexpected new"):
        load_vae(tmp_path)


def test_a_missing_weight_file_names_what_would_do(tmp_path: Path) -> None:
    """The user learns which names are looked for."""
    with pytest.raises(WeightsError, match=r"none of model\.fp16\.safetensors, .* is there"):
        weight_file(tmp_path, "image_encoder")


def test_noise_levels_are_the_published_ones(tmp_path: Path) -> None:
    """0.002 to 700; another kind of schedule is an error that says what differs."""
    config = manifest("folder_layout")["svd"]["scheduler_config"]
    (tmp_path / "scheduler").mkdir()
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(config))
    assert load_noise_range(tmp_path) == (0.002, 700.0)
    path.write_text(json.dumps(config | {"prediction_type": "epsilon"}))
    with pytest.raises(WeightsError, match="prediction_type 'epsilon'"):
        load_noise_range(tmp_path)
    path.write_text(json.dumps(config | {"sigma_max": None}))
    with pytest.raises(WeightsError, match="sigma_max"):
        load_noise_range(tmp_path)


def test_image_normalization_is_read(tmp_path: Path) -> None:
    """Mean and deviation, or an error with a reason."""
    folder = tmp_path / "feature_extractor"
    folder.mkdir()
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}))
    assert load_image_normalization(tmp_path) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    path.write_text("{}")
    with pytest.raises(WeightsError, match="no image_mean and image_std"):
        load_image_normalization(tmp_path)
