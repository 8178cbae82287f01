"""One clip from its inputs to denoised latents: the sampling algorithm as a whole (paper §3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from dispose_stages.sample.binding import (
    BoundNetwork,
    GuidanceBatch,
    Resident,
    SpatioTemporalNetwork,
    always_resident,
    guidance_contexts,
)
from dispose_stages.sample.conditions import (
    ClipConditions,
    embed_motion,
    embed_points,
    embed_poses,
)
from dispose_stages.sample.denoise import DenoisingState, Scheduler, denoise, initial_state
from dispose_stages.sample.guidance import guidance_scales, needs_guidance
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.noise import Noise, NoiseSource, repeat_to_length
from dispose_stages.sample.predict import make_predictor
from dispose_stages.sample.reference import (
    added_time_ids,
    clip_pixels,
    encode_reference,
    normalise_image,
)
from dispose_stages.sample.tiles import TileBlender, plan_tiles


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """The numbers of a row that sampling depends on (see `dispose_stages.config.Parameters`)."""

    seed: int = 42
    tile_size: int = 16
    tile_overlap: int = 6
    num_inference_steps: int = 25
    guidance_min: float = 2.0
    guidance_max: float = 2.0
    noise_aug_strength: float = 0.0
    compat: Literal["official", "corrected"] = "official"
    noise: NoiseSource = "cpu"

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional half."""
        return needs_guidance(self.guidance_min, self.guidance_max)


@dataclass(frozen=True, slots=True)
class ClipInputs:
    """What a clip is made from; full-resolution arrays come slice by slice.

    Attributes:
        image: Reference at the target size, on the device, as the sampler sees it
            (`dispose_stages.sample.reference.as_seen_by_sampler`).
        frames: Length of the clip, reference included.
        rasters: Pose images of a slice of the frames.
        fields: Dense and trajectory field of a slice of the driving frames; None where motion
            guidance is off.
        points: Normalised body keypoints of the driving person, reference first.
        visible: Whether each keypoint counts.
        correspondence: Feature of each keypoint of the reference; None where correspondence
            guidance is off.
    """

    image: UInt8[Tensor, "3 H W"]
    frames: int
    rasters: Callable[[slice], UInt8[Tensor, "n 3 H W"]]
    fields: Callable[[slice], tuple[Float[Tensor, "n 2 H W"], Float[Tensor, "n 2 H W"]]] | None
    points: Float64[Tensor, "f 18 2"]
    visible: Bool[Tensor, "f 18"]
    correspondence: Float32[Tensor, "18 c"] | None


class ControlNetwork(SpatioTemporalNetwork, Protocol):
    """ControlNet with its per-frame conditions (`dispose_stages.models.control_net`)."""

    def embed_motion(self, dense: Tensor, trajectory: Tensor) -> Tensor:
        """Embedding of both fields; a frame of zero motion is prepended."""

    def embed_points(
        self, embedding: Tensor, points: Tensor, visible: Tensor, *, height: int, width: int
    ) -> tuple[Tensor, ...]:
        """The point adapter's features per level."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks and how they are reached.

    Attributes:
        unet: The denoising network.
        control_net: The hybrid ControlNet.
        pose_net: Encodes pose images.
        image_embedding: CLIP's projected embedding of preprocessed pixels.
        posterior_mode: VAE encoder; float32 in and out.
        image_mean: Of CLIP's preprocessing.
        image_std: Likewise.
        scheduler: Euler, of the SVD checkpoint.
        guidance_batch: Names the elements of a batch of tiles and halves.
        device: Where everything is computed.
        dtype: Of weights and activations.
        resident: Keeps a network on the device while it is used.
    """

    unet: SpatioTemporalNetwork
    control_net: ControlNetwork
    pose_net: Callable[[Tensor], Tensor]
    image_embedding: Callable[[Float32[Tensor, "1 3 224 224"]], Float[Tensor, "1 d"]]
    posterior_mode: Callable[[Float32[Tensor, "1 3 H W"]], Float[Tensor, "1 4 h w"]]
    image_mean: Sequence[float]
    image_std: Sequence[float]
    scheduler: Scheduler
    guidance_batch: GuidanceBatch
    device: torch.device
    dtype: torch.dtype
    resident: Resident = always_resident


class _Chunking(NamedTuple):
    frame_chunk: int
    keep_on: torch.device


def condition_clip(
    inputs: ClipInputs,
    networks: Networks,
    parameters: SamplingParameters,
    image_noise: Float32[Tensor, "1 3 H W"],
    *,
    frame_chunk: int = 16,
    keep_on: torch.device | None = None,
) -> tuple[ClipConditions, Float[Tensor, "1 d"]]:
    """Everything that is computed once per clip, and the reference's CLIP embedding.

    Args:
        inputs: Of the clip.
        networks: Loaded.
        parameters: Of the row.
        image_noise: Unit normal.
        frame_chunk: Frames held at full resolution at once.
        keep_on: Where conditions per frame are kept; the device if None.
    """
    chunking = _Chunking(frame_chunk, keep_on or networks.device)
    image = normalise_image(inputs.image)
    pixels = clip_pixels(image, networks.image_mean, networks.image_std)
    embedding = networks.image_embedding(pixels).to(networks.dtype)
    latent = encode_reference(
        image, image_noise, parameters.noise_aug_strength, networks.posterior_mode
    )
    with networks.resident(networks.pose_net):
        pose = embed_poses(
            inputs.rasters,
            networks.pose_net,
            inputs.frames,
            dtype=networks.dtype,
            **chunking._asdict(),
        )
    motion, points = _control_conditions(inputs, networks, chunking)
    return ClipConditions(latent, pose, motion, points), embedding


def _control_conditions(
    inputs: ClipInputs, networks: Networks, chunking: _Chunking
) -> tuple[Tensor | None, tuple[Tensor, ...] | None]:
    motion = points = None
    with networks.resident(networks.control_net):
        if inputs.fields is not None:
            embed = networks.control_net.embed_motion
            motion = embed_motion(inputs.fields, embed, inputs.frames, **chunking._asdict())
        if inputs.correspondence is not None:
            height, width = inputs.image.shape[-2:]
            adapter = partial(
                networks.control_net.embed_points,
                inputs.correspondence.to(networks.dtype),
                height=height,
                width=width,
            )
            points = embed_points(adapter, inputs.points, inputs.visible, **chunking._asdict())
    return motion, points


def sample_clip(
    inputs: ClipInputs,
    networks: Networks,
    parameters: SamplingParameters,
    noise: Noise,
    rung: Rung,
    *,
    state: DenoisingState | None = None,
    after_step: Callable[[DenoisingState], None] = lambda _: None,
) -> Float32[Tensor, "f 4 h w"]:
    """Condition and denoise one clip.

    Args:
        inputs: Of the clip.
        networks: Loaded.
        parameters: Of the row.
        noise: From `draw_noise`, or recorded.
        rung: How much memory to take; does not change the result beyond rounding.
        state: Of an interrupted run, to go on from.
        after_step: Given every new state; may raise to interrupt.

    Returns:
        Denoised latents in the VAE's scaled space, frame 0 included.

    Raises:
        ConfigError: The tiles cannot cover the clip.
    """
    steps, guided = parameters.num_inference_steps, parameters.guided
    tiles = plan_tiles(inputs.frames, parameters.tile_size, parameters.tile_overlap)
    conditions, embedding = condition_clip(
        inputs,
        networks,
        parameters,
        noise.image,
        frame_chunk=rung.frame_chunk,
        keep_on=torch.device("cpu") if rung.offload_idle else networks.device,
    )
    unet, control_net = _bind(networks, parameters, conditions, embedding)
    return denoise(
        state
        or initial_state(networks.scheduler, repeat_to_length(noise.latents, inputs.frames), steps),
        make_predictor(
            conditions,
            unet,
            control_net,
            guided=guided,
            sequential_halves=rung.sequential_halves,
            dtype=networks.dtype,
        ),
        networks.scheduler,
        TileBlender(tiles, inputs.frames, device=networks.device),
        guidance_scales(
            parameters.guidance_min,
            parameters.guidance_max,
            inputs.frames,
            device=networks.device,
        ),
        steps=steps,
        tile_batch=rung.tile_batch,
        after_step=after_step,
    )


def _bind(
    networks: Networks,
    parameters: SamplingParameters,
    conditions: ClipConditions,
    embedding: Float[Tensor, "1 d"],
) -> tuple[BoundNetwork, BoundNetwork | None]:
    bound: dict[str, Any] = {
        "contexts": guidance_contexts(embedding, guided=parameters.guided),
        "time_ids": added_time_ids(parameters.noise_aug_strength, device=networks.device),
        "compat": parameters.compat,
        "guidance_batch": networks.guidance_batch,
        "resident": networks.resident,
    }
    unet = BoundNetwork(networks.unet, **bound)
    if not conditions.controlled:
        return unet, None
    return unet, BoundNetwork(networks.control_net, **bound)
