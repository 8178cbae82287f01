"""Networks of our own beside the libraries' with the same weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dispose_stages.errors import WeightsError
from dispose_stages.models.autoencoder import build_autoencoder, build_latent_encoder
from dispose_stages.models.clip import build_image_encoder, build_text_encoder
from dispose_stages.models.feature_unet import build_feature_unet

VAE: dict[str, Any] = {
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "layers_per_block": 2,
    "latent_channels": 4,
}
UNET: dict[str, Any] = {
    "block_out_channels": (16, 32, 32, 32),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "in_channels": 4,
    "layers_per_block": 2,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
CLIP: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def library(kind: Any, *args: Any, **config: Any) -> Any:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(*args, **config).eval()


def twin(own: nn.Module, plain: nn.Module) -> Any:
    """With the library's weights, as far as there is a place for them."""
    state = plain.state_dict()
    own.load_state_dict({key: state[key] for key in own.state_dict()})
    return own.eval()


@torch.no_grad()
def test_autoencoder_is_the_librarys() -> None:
    """Encoder bit for bit; the decoder mixes space and time in another order of the same terms."""
    from diffusers import AutoencoderKLTemporalDecoder

    plain = library(AutoencoderKLTemporalDecoder, **VAE)
    own = twin(build_autoencoder(VAE), plain)
    assert own.state_dict().keys() == plain.state_dict().keys()
    image, latents = random(1, 3, 32, 48), random(6, 4, 8, 12)
    assert torch.equal(own.encode(image), plain.encode(image).latent_dist.mode())
    plain, own = plain.double(), own.double()
    expected = plain.decode(latents.double(), num_frames=3).sample
    torch.testing.assert_close(own.decode(latents.double(), 3), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_feature_network_is_the_librarys() -> None:
    """Bit for bit the library's network as far as the second up block, its encoder beside."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    plain = library(UNet2DConditionModel, **UNET)
    own = twin(build_feature_unet(UNET, up_block=1), plain)
    found: list[Tensor] = []
    plain.up_blocks[1].register_forward_hook(lambda _m, _i, output: found.append(output))
    latents, context = random(2, 4, 16, 8), random(2, 7, 24)
    plain(latents, 261, context)
    assert torch.equal(own(latents, 261, context), found[0])
    config = VAE | {"up_block_types": ("UpDecoderBlock2D",) * 3, "norm_num_groups": 8}
    encoder = library(AutoencoderKL, **config)
    image = random(1, 3, 16, 16)
    mean, deviation = twin(build_latent_encoder(config), encoder)(image)
    posterior = encoder.encode(image).latent_dist
    assert torch.equal(mean, posterior.mean)
    assert torch.equal(deviation, posterior.std)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@torch.no_grad()
def test_clip_is_the_librarys(activation: str) -> None:
    """Image and text encoder bit for bit."""
    import transformers

    config = CLIP | {"hidden_act": activation}
    vision = config | {"image_size": 28, "patch_size": 14, "projection_dim": 16}
    plain = library(
        transformers.CLIPVisionModelWithProjection, transformers.CLIPVisionConfig(**vision)
    )
    image = random(2, 3, 28, 28)
    own = twin(build_image_encoder(vision), plain)
    assert torch.equal(own(image), plain(image).image_embeds)
    ends = {"bos_token_id": 48, "eos_token_id": 49}
    text = config | {"vocab_size": 50, "max_position_embeddings": 12} | ends
    plain = library(transformers.CLIPTextModel, transformers.CLIPTextConfig(**text))
    tokens = torch.arange(24).reshape(2, 12) * 2
    own = twin(build_text_encoder(text), plain)
    assert torch.equal(own(tokens), plain(tokens)[0])


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (build_autoencoder, VAE | {"down_block_types": ("AttnDownEncoderBlock2D",) * 3}),
        (build_autoencoder, {"down_block_types": ("DownEncoderBlock2D",)}),
        (lambda config: build_feature_unet(config, 1), UNET | {"use_linear_projection": True}),
        (lambda config: build_feature_unet(config, 1), UNET | {"attention_head_dim": "x"}),
        (build_image_encoder, CLIP),
        (build_text_encoder, CLIP | {"hidden_act": "tanh"}),
    ],
)
def test_configurations_of_other_networks_are_refused(build: Any, config: dict[str, Any]) -> None:
    """A clear error instead of a network that computes something else."""
    with pytest.raises(WeightsError, match="not the configuration"):
        build(config)
