"""Sizes of the tiny bundle: the configuration files of the published folders, with small widths.

The UNets' widths change between blocks where the published ones do, so that the same layers exist;
the VAEs are as cheap as their normalisation in 32 groups allows.
"""

from __future__ import annotations

from typing import Any

from dispose_stages.models.cmp import CmpWidths

Json = dict[str, Any]

CONTEXT_CHANNELS = 32
POINT_CHANNELS = 32
"""Width of the diffusion features: the output of the SD UNet's second up block."""

SVD_UNET: Json = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "addition_time_embed_dim": 32,
    "block_out_channels": [32, 64, 32, 32],
    "cross_attention_dim": CONTEXT_CHANNELS,
    "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
    "in_channels": 8,
    "layers_per_block": 2,
    "num_attention_heads": [2, 4, 2, 2],
    "num_frames": 16,
    "out_channels": 4,
    "projection_class_embeddings_input_dim": 96,
    "sample_size": 16,
    "transformer_layers_per_block": 1,
    "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
}

_VAE: Json = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "out_channels": 3,
    "sample_size": 64,
    "scaling_factor": 0.18215,
}

SVD_VAE: Json = _VAE | {"_class_name": "AutoencoderKLTemporalDecoder", "force_upcast": True}

SVD_IMAGE_ENCODER: Json = {
    "architectures": ["CLIPVisionModelWithProjection"],
    "attention_dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_size": 32,
    "image_size": 224,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": 32,
    "projection_dim": CONTEXT_CHANNELS,
}

SD_SCHEDULER: Json = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

SVD_SCHEDULER: Json = SD_SCHEDULER | {
    "_class_name": "EulerDiscreteScheduler",
    "interpolation_type": "linear",
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}

FEATURE_EXTRACTOR: Json = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 224},
}

SD_UNET: Json = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "block_out_channels": [32, 64, POINT_CHANNELS, 32],
    "cross_attention_dim": 32,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 8,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}

SD_VAE: Json = _VAE | {
    "_class_name": "AutoencoderKL",
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

CMP_WIDTHS = CmpWidths(
    stem=16,
    stages=(8, 12, 16, 24),
    image=32,
    sparse=16,
    branch=32,
    fusion8=48,
    skip4=32,
    fusion4=32,
    skip2=16,
    fusion2=32,
)


def sd_text_encoder(vocabulary: int) -> Json:
    """The text encoder's configuration; the start and end tokens are the last two."""
    return {
        "architectures": ["CLIPTextModel"],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "hidden_act": "quick_gelu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": vocabulary - 1,
        "projection_dim": 32,
        "vocab_size": vocabulary,
    }


MODEL_INDEX = {
    "svd": {
        "_class_name": "StableVideoDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
        "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
    },
    "sd15": {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
}
"""``model_index.json`` of both folders."""
