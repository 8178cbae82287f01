"""A stand-in for CLIP: a frozen random encoder whose embedding tells images apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dispose_stages.models.clip import ImageEncoder, build_image_encoder
from dispose_stages.sample.reference import clip_pixels, normalise_image
from dispose_stages.training.bundle.random_state import random_state
from dispose_stages.training.tiny_configs import FEATURE_EXTRACTOR, Json


def embed_images(
    encoder: Any, images: Sequence[np.ndarray], *, device: torch.device | str = "cpu"
) -> Float32[Tensor, "n d"]:
    """Embeddings of uint8 RGB images, by the sampler's own preparation."""
    mean, std = FEATURE_EXTRACTOR["image_mean"], FEATURE_EXTRACTOR["image_std"]
    embeddings = []
    with torch.no_grad():
        for image in images:
            planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            pixels = clip_pixels(normalise_image(planes), mean, std)
            embeddings.append(encoder(pixels.to(device)).float().cpu())
    return torch.cat(embeddings)


def random_image_encoder(config: Json, *, seed: int = 0) -> ImageEncoder:
    """A CLIP image encoder with random weights that are the same on every machine."""
    encoder = build_image_encoder(config)
    encoder.load_state_dict(random_state(encoder, seed=seed, name="image_encoder"))
    return encoder.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def spread_embedding(encoder: Any, images: Sequence[np.ndarray]) -> Float[Tensor, "d"]:
    """Turn the projection so that the embedding's components vary alike and independently.

    Random features are nearly the same for all images; what differs is a few directions. The
    projection is replaced by one onto the directions in which `images` differ most, scaled to unit
    deviation (up to a tenfold amplification relative to the strongest direction).

    Returns:
        Deviation of the directions that were kept, before scaling.
    """
    projection = encoder.visual_projection
    size = projection.in_features
    projection.weight.copy_(torch.eye(projection.out_features, size))
    features = embed_images(encoder, images)
    _, singular, directions = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)
    deviations: Tensor = singular / len(images) ** 0.5
    gain = 1 / deviations.clamp(min=0.1 * float(deviations[0]))
    rows = directions * gain[:, None]
    projection.weight.zero_()
    projection.weight[: len(rows), : rows.shape[1]] = rows
    return deviations
