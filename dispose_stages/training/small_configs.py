"""Sizes of the small bundle: the tiny one's configuration with widths that can learn.

Normalisation is in groups of 32 everywhere, so a layer that is to tell absolute values apart needs
two channels per group at least, hence no width below 64 before an output layer.
"""

from __future__ import annotations

from dataclasses import replace

from dispose_stages.training import tiny_configs as configs
from dispose_stages.training.tiny_configs import Json

HEIGHT, WIDTH = 192, 128
"""Of the training images, pixels."""
FRAMES = 6
"""Of a clip, the reference included; the sampler's tiles are as long."""
CONTEXT_CHANNELS = 64
POINT_CHANNELS = 64
"""Of the diffusion features, which say what 32 by 32 pixels look like."""

SVD_VAE: Json = configs.SVD_VAE | {"block_out_channels": [64, 64, 64, 128]}

# No attention at full latent size: it would take half of the time there.
SVD_UNET: Json = configs.SVD_UNET | {
    "block_out_channels": [64, 96, 96, 96],
    "down_block_types": [
        "DownBlockSpatioTemporal",
        *["CrossAttnDownBlockSpatioTemporal"] * 2,
        "DownBlockSpatioTemporal",
    ],
    "up_block_types": [
        "UpBlockSpatioTemporal",
        *["CrossAttnUpBlockSpatioTemporal"] * 2,
        "UpBlockSpatioTemporal",
    ],
    "cross_attention_dim": CONTEXT_CHANNELS,
    "layers_per_block": 1,
    "num_attention_heads": [2, 3, 3, 3],
    "num_frames": FRAMES,
    "sample_size": HEIGHT // 8,
}

SVD_IMAGE_ENCODER: Json = configs.SVD_IMAGE_ENCODER | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "projection_dim": CONTEXT_CHANNELS,
}

SVD_SCHEDULER: Json = configs.SVD_SCHEDULER | {"sigma_max": 80.0}
"""Few denoising steps are not to be spent where nothing but noise is seen."""

# Groups of several channels: brightness is to pass the norms.
SD_VAE: Json = configs.SD_VAE | {"norm_num_groups": 1}
SD_UNET: Json = configs.SD_UNET | {
    "block_out_channels": [32, 64, POINT_CHANNELS, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
}

CMP_WIDTHS = replace(configs.CMP_WIDTHS, stages=(16, 16, 24, 32), fusion8=64)
