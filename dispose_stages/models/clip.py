"""CLIP's image and text encoder.

Attribute names are those of the published state dicts, which transformers calls
`CLIPVisionModelWithProjection` and `CLIPTextModel` (the latter's without ``text_model.``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dispose_stages.errors import WeightsError

T = TypeVar("T")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": _quick_gelu}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, *, causal: bool) -> Tensor:
        query, key, value = (
            projection(hidden).reshape(*hidden.shape[:2], self.heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class _Mlp(nn.Module):
    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.fc2(self.activation(self.fc1(hidden)))
        return output


class _Layer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-5)
        self.self_attn = _Attention(width, config["num_attention_heads"])
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, config["intermediate_size"], config.get("hidden_act", "quick_gelu"))
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, hidden: Tensor, *, causal: bool) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden), causal=causal)
        output: Tensor = hidden + self.mlp(self.layer_norm2(hidden))
        return output


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden, causal=self.causal)
        return hidden


class _ImageEmbeddings(nn.Module):
    def __init__(self, width: int, image_size: int, patch_size: int) -> None:
        super().__init__()
        positions = (image_size // patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(nn.init.normal_(torch.empty(width)))
        self.patch_embedding = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.position_embedding = nn.Embedding(positions, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class _VisionTransformer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-5)
        self.embeddings = _ImageEmbeddings(width, config["image_size"], config["patch_size"])
        self.pre_layrnorm = nn.LayerNorm(width, eps=eps)  # published under this name
        self.encoder = _Encoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(width, eps=eps)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        output: Tensor = self.post_layernorm(hidden[:, 0])
        return output


class ImageEncoder(nn.Module):
    """An image as one vector in the space that images and texts share."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision_model = _VisionTransformer(config)
        self.visual_projection = nn.Linear(
            config["hidden_size"], config["projection_dim"], bias=False
        )

    def forward(self, pixels: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Embed images that are normalised by CLIP's mean and deviation."""
        output: Tensor = self.visual_projection(self.vision_model(pixels))
        return output


class _TextEmbeddings(nn.Module):
    def __init__(self, width: int, vocabulary: int, positions: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(positions, width)

    def forward(self, tokens: Tensor) -> Tensor:
        positions: Tensor = self.position_embedding.weight[: tokens.shape[1]]
        embedded: Tensor = self.token_embedding(tokens)
        return embedded + positions


class TextEncoder(nn.Module):
    """Tokens as vectors; each sees those before it.

    Attributes:
        length: Tokens of a text.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, self.length = config["hidden_size"], int(config["max_position_embeddings"])
        self.embeddings = _TextEmbeddings(width, config["vocab_size"], self.length)
        self.encoder = _Encoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(width, eps=config.get("layer_norm_eps", 1e-5))

    def forward(self, tokens: Int64[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        """Last hidden state."""
        output: Tensor = self.final_layer_norm(self.encoder(self.embeddings(tokens)))
        return output


def build_image_encoder(config: Mapping[str, Any]) -> ImageEncoder:
    """The network of a CLIP vision configuration, with random weights.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    return _build(ImageEncoder, config)


def build_text_encoder(config: Mapping[str, Any]) -> TextEncoder:
    """The network of a CLIP text configuration, with random weights.

    Raises:
        WeightsError: The configuration describes another kind of network.
    """
    return _build(TextEncoder, config)


def _build(kind: Callable[[Mapping[str, Any]], T], config: Mapping[str, Any]) -> T:
    try:
        return kind(config)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"not the configuration of a CLIP encoder: {error!r}") from error
