"""What Stable Video Diffusion's folder holds beside the UNet: VAE, image encoder, scheduler.

The classes are those of diffusers and transformers, bit-identical to the ones the released weights
were trained and run with (golden README, "Library-version facts"). The half-precision files
(``.fp16``) are preferred, as in the original.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dispose_stages.errors import WeightsError
from dispose_stages.models.temporal_convolution import use_temporal_convolutions
from dispose_stages.weights.files import (
    fit_problems,
    open_weights,
    parameter_shapes,
    read_into,
    read_json,
)

_ENDINGS = (".fp16.safetensors", ".safetensors", ".fp16.bin", ".bin")
_STEMS = {
    "vae": ("diffusion_pytorch_model",),
    "image_encoder": ("model", "pytorch_model"),
}
# Saved by transformers before 4.31, although it is a constant.
_POSITIONS = "vision_model.embeddings.position_ids"


def load_vae(
    svd: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> AutoencoderKLTemporalDecoder:
    """The image VAE encoder and temporal decoder of ``vae/``.

    Args:
        svd: The folder.
        dtype: Of all parameters; as in the file if None.
        device: Of all parameters.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    config = read_json(svd / "vae" / "config.json")
    with torch.device("meta"), _quiet("diffusers"):
        vae: AutoencoderKLTemporalDecoder = AutoencoderKLTemporalDecoder.from_config(config)  # type: ignore[no-untyped-call]
    use_temporal_convolutions(vae)  # type: ignore[arg-type]
    _fill(vae, svd, "vae", dtype=dtype, device=device)  # type: ignore[arg-type]
    return vae


def load_image_encoder(
    svd: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> CLIPVisionModelWithProjection:
    """The CLIP image encoder of ``image_encoder/``; arguments as `load_vae`."""
    config = read_json(svd / "image_encoder" / "config.json")
    with torch.device("meta"):
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    _fill(encoder, svd, "image_encoder", dtype=dtype, device=device)
    embeddings = encoder.vision_model.embeddings
    # No part of the state dict, so it is still on the meta device.
    embeddings.position_ids = torch.arange(embeddings.num_positions, device=device)[None]
    return encoder


def load_scheduler(svd: Path) -> EulerDiscreteScheduler:
    """The Euler scheduler of ``scheduler/``: v-prediction, Karras sigmas.

    Raises:
        WeightsError: Its configuration is missing.
    """
    config = read_json(svd / "scheduler" / "scheduler_config.json")
    with _quiet("diffusers"):
        scheduler: EulerDiscreteScheduler = EulerDiscreteScheduler.from_config(config)  # type: ignore[no-untyped-call]
    return scheduler


def load_image_normalization(svd: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel that the image encoder expects (0..1 images).

    Raises:
        WeightsError: ``feature_extractor/`` is missing or says nothing about it.
    """
    path = svd / "feature_extractor" / "preprocessor_config.json"
    config = read_json(path)
    try:
        mean, std = (tuple(map(float, config[name])) for name in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: no image_mean and image_std: {error!r}") from error
    return mean, std


def weight_file(svd: Path, part: str) -> Path:
    """The weight file of a part, half precision first.

    Raises:
        WeightsError: There is none; names the ones that would do.
    """
    names = [stem + ending for ending in _ENDINGS for stem in _STEMS[part]]
    for name in names:
        if (svd / part / name).exists():
            return svd / part / name
    raise WeightsError(f"{svd / part}: none of {', '.join(names)} is there")


def _fill(
    network: nn.Module,
    svd: Path,
    part: str,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> None:
    file = open_weights(weight_file(svd, part))
    found = {key: shape for key, shape in file.shapes.items() if key != _POSITIONS}
    problems = fit_problems(parameter_shapes(network), found)
    if problems:
        raise WeightsError(f"{file.path} does not fit: {'; '.join(problems)}")
    read_into(network, file, dtype=dtype, device=device)


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Keep a library from remarking on configuration entries of other versions."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
