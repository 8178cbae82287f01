"""A tiny clip and tiny networks with weights from the formula; no recordings needed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dispose_stages.config import Parameters, Sampling
from dispose_stages.models.context import GuidanceBatch
from dispose_stages.sample.clip import ClipInputs, Networks
from dispose_stages.sample.noise import Noise, draw_noise
from dispose_stages.sample.unit import SampleParams
from tests.parity.sampling_networks import build_networks, build_vae

HEIGHT, WIDTH = 128, 64
META: dict[str, Any] = {
    # Not the recordings' prefix, whose gain makes features that amplify rounding a thousandfold.
    "prefixes": {"pose_net": "tests.pose_net."},
    "unet_config": {
        "in_channels": 8,
        "out_channels": 4,
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
        "block_out_channels": [32, 32, 32, 32],
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 96,
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "transformer_layers_per_block": 1,
        "num_attention_heads": [2, 2, 2, 2],
    },
    "vae_config": {
        "block_out_channels": [32, 32, 32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "layers_per_block": 1,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    },
    "clip_vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "gelu",
        "projection_dim": 32,
    },
    "scheduler_config": {
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "sigma_max": 700.0,
        "sigma_min": 0.002,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "timestep_type": "continuous",
        "use_karras_sigmas": True,
    },
}
PARAMETERS = SampleParams.of(
    Parameters(seed=5, tile_size=4, tile_overlap=2, num_inference_steps=3), Sampling()
)


@cache
def tiny_vae() -> Any:
    return build_vae(META, "sample-tests")


@cache
def tiny_networks(dtype: torch.dtype = torch.float32) -> Networks:
    """Shared between tests: wrap, do not change."""
    with warnings.catch_warnings():
        return build_networks(META, "sample-tests", vae=tiny_vae(), dtype=dtype)


def tiny_inputs(frames: int, dtype: torch.dtype = torch.float32) -> ClipInputs:
    """Random content; some keypoints invisible, two in one cell."""
    generator = torch.Generator().manual_seed(frames)

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    rasters = bytes_of(frames, 3, HEIGHT, WIDTH)
    fields = torch.randn((2, frames - 1, 2, HEIGHT, WIDTH), generator=generator).to(dtype)
    points = torch.rand((frames, 18, 2), generator=generator, dtype=torch.float64)
    points[:, 3] = points[:, 4]
    return ClipInputs(
        image=bytes_of(3, HEIGHT, WIDTH),
        frames=frames,
        rasters=lambda chunk: rasters[chunk],
        fields=lambda chunk: (fields[0][chunk], fields[1][chunk]),
        points=points,
        visible=torch.rand((frames, 18), generator=generator) > 0.2,
        correspondence=torch.randn((18, 1280), generator=generator),
    )


def tiny_noise(parameters: SampleParams = PARAMETERS) -> Noise:
    return draw_noise(
        parameters.seed,
        height=HEIGHT,
        width=WIDTH,
        tile_size=parameters.tile_size,
        device="cpu",
    )


def plain_predict(
    inputs: ClipInputs,
    networks: Networks,
    parameters: SampleParams,
    *,
    image_latent: Tensor,
    embedding: Tensor,
    noisy: Tensor,
    tile: Sequence[int],
    timestep: Tensor,
) -> Tensor:
    """One tile's prediction with nothing computed beforehand: every condition per tile and step."""
    from dispose_stages.sample.binding import guidance_contexts
    from dispose_stages.sample.reference import added_time_ids

    unet: Any = networks.unet
    control_net: Any = networks.control_net
    dtype = networks.dtype
    context = guidance_contexts(embedding, guided=True)
    batch = GuidanceBatch.tiles(1)
    ids = added_time_ids(
        parameters.noise_aug_strength,
        condition_fps=parameters.condition_fps,
        motion_bucket_id=parameters.motion_bucket_id,
        device="cpu",
    )
    rasters = torch.cat([inputs.rasters(slice(frame, frame + 1)) for frame in tile])
    pose = networks.pose_net((rasters.float() / 127.5 - 1).to(dtype))
    assert inputs.fields is not None
    assert inputs.correspondence is not None
    fields = [inputs.fields(slice(frame - 1, frame)) for frame in tile[1:]]
    moving = control_net.embed_motion(*(torch.cat(field) for field in zip(*fields, strict=True)))
    motion = torch.cat([control_net.embed_stillness(HEIGHT, WIDTH), moving])
    levels = control_net.embed_points(
        inputs.correspondence.to(dtype),
        inputs.points[list(tile)],
        inputs.visible[list(tile)],
        height=HEIGHT,
        width=WIDTH,
    )
    shown = image_latent.expand(len(tile), -1, -1, -1)
    halves = [torch.cat([noisy, part], 1) for part in (torch.zeros_like(shown), shown)]
    latents = torch.stack(halves).to(dtype)
    residuals = control_net(
        latents,
        control_net.time_embed(timestep, ids),
        control_net.cross_attention(context, batch, parameters.compat),
        motion=motion.expand(2, *motion.shape),
        point_levels=tuple(level.expand(2, *level.shape) for level in levels),
        scale=parameters.control_scale,
    )
    output: Tensor = unet(
        latents,
        unet.time_embed(timestep, ids),
        unet.cross_attention(context, batch, parameters.compat),
        pose_latents=torch.stack([torch.zeros_like(pose), pose]),
        control=residuals,
    )
    return output


def with_counters(networks: Networks, calls: dict[str, int]) -> Networks:
    """The same networks, counting what is called."""

    class Counting:
        def __init__(self, network: Any, name: str) -> None:
            self._network, self._name = network, name

        def _count(self, what: str) -> None:
            calls[f"{self._name}{what}"] = calls.get(f"{self._name}{what}", 0) + 1

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self._count("")
            return self._network(*args, **kwargs)

        def __getattr__(self, attribute: str) -> Any:
            method = getattr(self._network, attribute)

            def counted(*args: Any, **kwargs: Any) -> Any:
                self._count(f".{attribute}")
                return method(*args, **kwargs)

            return counted

    def pose_net(images: Tensor) -> Tensor:
        calls["pose_net frames"] = calls.get("pose_net frames", 0) + len(images)
        return networks.pose_net(images)

    unet: Any = Counting(networks.unet, "unet")
    control_net: Any = Counting(networks.control_net, "control_net")
    return replace(networks, unet=unet, control_net=control_net, pose_net=pose_net)
