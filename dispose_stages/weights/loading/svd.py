"""What Stable Video Diffusion's folder holds beside the UNet: VAE, image encoder, scheduler.

The half-precision files (``.fp16``) are preferred, as in the original.
"""

from __future__ import annotations

from pathlib import Path

import torch

from dispose_stages.errors import WeightsError
from dispose_stages.models.autoencoder import TemporalAutoencoder, build_autoencoder
from dispose_stages.models.clip import ImageEncoder, build_image_encoder
from dispose_stages.weights.converted import find_in_use
from dispose_stages.weights.files import open_weights, read_json
from dispose_stages.weights.fitting import fill, unfilled
from dispose_stages.weights.layout import weight_names

_SCHEDULE = {
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "use_karras_sigmas": True,
}
# Saved by transformers before 4.31, although it is a constant.
_POSITIONS = "vision_model.embeddings.position_ids"


def load_vae(
    svd: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> TemporalAutoencoder:
    """The image VAE encoder and temporal decoder of ``vae/``.

    Args:
        dtype: Of all parameters; as in the file if None.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    config = read_json(svd / "vae" / "config.json")
    with unfilled():
        vae = build_autoencoder(config)
    fill(vae, open_weights(weight_file(svd, "vae")), dtype=dtype, device=device)
    return vae


def load_image_encoder(
    svd: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> ImageEncoder:
    """The CLIP image encoder of ``image_encoder/``; arguments as `load_vae`."""
    config = read_json(svd / "image_encoder" / "config.json")
    with unfilled():
        encoder = build_image_encoder(config)
    file = open_weights(weight_file(svd, "image_encoder"))
    fill(encoder, file, dtype=dtype, device=device, ignored={_POSITIONS})
    return encoder


def load_noise_range(svd: Path) -> tuple[float, float]:
    """Lowest and highest noise level of ``scheduler/``.

    Raises:
        WeightsError: Its configuration is missing, or is not that of Karras' levels with
            continuous timesteps and ``v`` predicted, which the loop computes.
    """
    path = svd / "scheduler" / "scheduler_config.json"
    config = read_json(path)
    wrong = [
        f"{name} {config.get(name)!r}"
        for name, value in _SCHEDULE.items()
        if config.get(name) != value
    ]
    if wrong:
        raise WeightsError(f"{path}: not Stable Video Diffusion's scheduler: {', '.join(wrong)}")
    try:
        return float(config["sigma_min"]), float(config["sigma_max"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: no sigma_min and sigma_max: {error!r}") from error


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
