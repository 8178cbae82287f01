"""One clip from its inputs to denoised latents: the sampling algorithm as a whole (paper §3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.models.control_net import ControlNet
from dispose_stages.models.pose_net import PoseNet
from dispose_stages.models.unet import SpatioTemporalUNet
from dispose_stages.sample.binding import (
    BoundNetwork,
    Resident,
    always_resident,
    guidance_contexts,
)
from dispose_stages.sample.conditions import (
    ClipConditions,
    Fields,
    Rasters,
    embed_motion,
    embed_points,
    embed_poses,
)
from dispose_stages.sample.denoise import (
    DenoisingState,
    denoise,
    initial_state,
    interruptible,
)
from dispose_stages.sample.guidance import guidance_scales
from dispose_stages.sample.kept_frames import KeptFrames
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.noise import Noise, repeat_to_length
from dispose_stages.sample.predict import Predictor
from dispose_stages.sample.recording import Capture
from dispose_stages.sample.reference import (
    added_time_ids,
    clip_pixels,
    encode_reference,
    normalise_image,
)
from dispose_stages.sample.schedule import noise_levels
from dispose_stages.sample.shortcuts import step_kinds
from dispose_stages.sample.tiles import TileBlender
from dispose_stages.sample.unit import SampleParams


@dataclass(frozen=True, slots=True)
class ClipInputs:
    """What a clip is made from; full-resolution arrays come slice by slice.

    Attributes:
        image: Reference at the target size, on the device, as the sampler sees it
            (`dispose_stages.sample.reference.as_seen_by_sampler`).
        frames: Length of the clip, reference included.
        rasters: Draws pose images.
        fields: Rebuilds motion fields; None where motion guidance is off.
        points: Normalised body keypoints of the driving person, reference first.
        visible: Whether each keypoint counts.
        correspondence: Feature of each keypoint of the reference; None where correspondence
            guidance is off.
    """

    image: UInt8[Tensor, "3 H W"]
    frames: int
    rasters: Rasters
    fields: Fields | None
    points: Float64[Tensor, "f 18 2"]
    visible: Bool[Tensor, "f 18"]
    correspondence: Float32[Tensor, "18 c"] | None


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks and how they are reached.

    Attributes:
        unet: The denoising network.
        control_net: The hybrid ControlNet.
        pose_net: Encodes pose images.
        image_embedding: CLIP's projected embedding of preprocessed pixels.
        posterior_mode: VAE encoder; float32 in and out.
        image_mean: Per channel, of CLIP's preprocessing.
        image_std: Per channel, of CLIP's preprocessing.
        noise_range: Lowest and highest noise level.
        device: Where everything is computed.
        dtype: Of weights and activations.
        resident: Keeps a network on the device while it is used.
        capture: How repeated calls of the networks are recorded; None: not at all.
    """

    unet: SpatioTemporalUNet
    control_net: ControlNet
    pose_net: PoseNet
    image_embedding: Callable[[Float32[Tensor, "1 3 224 224"]], Float[Tensor, "1 d"]]
    posterior_mode: Callable[[Float32[Tensor, "1 3 H W"]], Float[Tensor, "1 4 h w"]]
    image_mean: Sequence[float]
    image_std: Sequence[float]
    noise_range: tuple[float, float]
    device: torch.device
    dtype: torch.dtype
    resident: Resident = always_resident
    capture: Capture | None = None


def condition_clip(
    inputs: ClipInputs,
    networks: Networks,
    params: SampleParams,
    image_noise: Float32[Tensor, "1 3 H W"],
    rung: Rung,
) -> tuple[ClipConditions, Float[Tensor, "1 d"]]:
    """Everything that is computed once per clip, and the reference's CLIP embedding.

    Args:
        image_noise: Unit normal.
        rung: Decides how much is held at full resolution, and where conditions are kept.
    """
    image = normalise_image(inputs.image)
    pixels = clip_pixels(image, networks.image_mean, networks.image_std)
    embedding = networks.image_embedding(pixels).to(networks.dtype)
    latent = encode_reference(
        image, image_noise, params.noise_aug_strength, networks.posterior_mode
    )
    keep_on = torch.device("cpu") if rung.offload_idle else networks.device
    with networks.resident(networks.pose_net):
        pose = embed_poses(
            inputs.rasters,
            networks.pose_net,
            inputs.frames,
            dtype=networks.dtype,
            frame_chunk=rung.frame_chunk,
            keep_on=keep_on,
        )
    with networks.resident(networks.control_net):
        motion, points = _control_conditions(inputs, networks, rung.frame_chunk, keep_on)
    return ClipConditions(latent, pose, motion, points), embedding


def _control_conditions(
    inputs: ClipInputs, networks: Networks, frame_chunk: int, keep_on: torch.device
) -> tuple[KeptFrames | None, tuple[KeptFrames, ...] | None]:
    height, width = inputs.image.shape[-2:]
    size: dict[str, Any] = {
        "height": height,
        "width": width,
        "frame_chunk": frame_chunk,
        "keep_on": keep_on,
    }
    motion = points = None
    if inputs.fields is not None:
        motion = embed_motion(inputs.fields, networks.control_net, inputs.frames, **size)
    if inputs.correspondence is not None:
        embedding = inputs.correspondence.to(networks.dtype)
        points = embed_points(
            embedding, inputs.points, inputs.visible, networks.control_net, **size
        )
    return motion, points


def sample_clip(
    inputs: ClipInputs,
    networks: Networks,
    params: SampleParams,
    noise: Noise,
    rung: Rung,
    *,
    state: DenoisingState | None = None,
    after_step: Callable[[DenoisingState], None] = lambda _: None,
    between: Callable[[], None] = lambda: None,
) -> Float32[Tensor, "f 4 h w"]:
    """Condition and denoise one clip.

    Args:
        noise: From `draw_noise`, or recorded.
        rung: How much memory to take; does not change the result beyond rounding.
        state: Of an interrupted run, to go on from.
        after_step: Given every new state that can be gone on from; may raise to interrupt.
        between: Called with every tile; likewise.

    Returns:
        Denoised latents in the VAE's scaled space, frame 0 included.

    Raises:
        ConfigError: The tiles cannot cover the clip.
    """
    levels = noise_levels(params.num_inference_steps, *networks.noise_range)
    tiles = plan_tiles(inputs.frames, params.tile_size, params.tile_overlap)
    image_noise, tile_noise = noise
    conditions, embedding = condition_clip(inputs, networks, params, image_noise, rung)
    unet, control_net = _bind(networks, params, conditions, embedding)
    predict = Predictor(
        conditions,
        unet,
        control_net,
        guided=params.guided,
        control_scale=params.control_scale,
        rung=rung,
        dtype=networks.dtype,
        capture=networks.capture,
    )
    return denoise(
        state or initial_state(repeat_to_length(tile_noise, inputs.frames), levels),
        interruptible(predict, between),
        levels,
        TileBlender(tiles, inputs.frames, device=networks.device),
        guidance_scales(
            params.guidance_min,
            params.guidance_max,
            inputs.frames,
            device=networks.device,
        ),
        kinds=step_kinds(levels, params),
        solver=params.solver,
        after_step=after_step,
    )


def _bind(
    networks: Networks,
    params: SampleParams,
    conditions: ClipConditions,
    embedding: Float[Tensor, "1 d"],
) -> tuple[BoundNetwork, BoundNetwork | None]:
    bound: dict[str, Any] = {
        "contexts": guidance_contexts(embedding, guided=params.guided),
        "time_ids": added_time_ids(
            params.noise_aug_strength,
            condition_fps=params.condition_fps,
            motion_bucket_id=params.motion_bucket_id,
            device=networks.device,
        ),
        "compat": params.compat,
        "resident": networks.resident,
    }
    unet = BoundNetwork(networks.unet, **bound)
    if not conditions.controlled:
        return unet, None
    return unet, BoundNetwork(networks.control_net, **bound)
