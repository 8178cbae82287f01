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
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dispose_stages.errors import WeightsError
from dispose_stages.models.temporal_convolution import use_temporal_convolutions
from dispose_stages.weights.converted import find_in_use
from dispose_stages.weights.files import open_weights, read_json
from dispose_stages.weights.fitting import fill
from dispose_stages.weights.layout import weight_names

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
    file = open_weights(weight_file(svd, "vae"))
    fill(vae, file, dtype=dtype, device=device)  # type: ignore[arg-type]
    return vae


def load_image_encoder(
    svd: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> CLIPVisionModelWithProjection:
    """The CLIP image encoder of ``image_encoder/``; arguments as `load_vae`."""
    config = read_json(svd / "image_encoder" / "config.json")
    with torch.device("meta"):
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    file = open_weights(weight_file(svd, "image_encoder"))
    fill(encoder, file, dtype=dtype, device=device, ignored={_POSITIONS})
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


def weight_file(folder: Path, part: str) -> Path:
    """The weight file of a part of a published folder, half precision first.

    Raises:
        WeightsError: There is none; names the ones that would do.
    """
    names = weight_names(part)
    path = find_in_use(folder / part, names)
    if path is None:
        raise WeightsError(f"{folder / part}: none of {', '.join(names)} is there")
    return path


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
