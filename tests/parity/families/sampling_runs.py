"""Whole sampling runs, every computation that is done once per clip or step included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dispose_stages.config import Parameters, Sampling
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.models.video_decoder import decode_chunks, to_pixels
from dispose_stages.sample import denoise
from dispose_stages.sample.binding import guidance_contexts
from dispose_stages.sample.clip import (
    ClipInputs,
    Networks,
    condition_clip,
    sample_clip,
)
from dispose_stages.sample.memory import Rung
from dispose_stages.sample.noise import draw_noise
from dispose_stages.sample.reference import added_time_ids, clip_pixels, normalise_image
from dispose_stages.sample.tiles import Tile
from dispose_stages.sample.unit import SampleParams
from tests.parity.case import Case, Check, Family, max_abs, relative_to_peak
from tests.parity.sampling_networks import CLIP_MEAN, CLIP_STD, build_networks, build_vae, decoder

RUNG = Rung("single_tile", 1)


@dataclass
class Recorder:
    """What the networks gave, guided or not, while a clip was sampled."""

    unet: list[Tensor] = field(default_factory=list)
    control_mid: list[Tensor] = field(default_factory=list)
    model_out: list[Tensor] = field(default_factory=list)

    @contextmanager
    def listening(self, networks: Networks) -> Iterator[None]:
        step = denoise.euler_step

        def recorded(latents: Tensor, prediction: Tensor, *levels: Tensor) -> Tensor:
            self.model_out.append(prediction)
            return step(latents, prediction, *levels)

        unet: Any = networks.unet
        control: Any = networks.control_net
        handles = [
            unet.register_forward_hook(lambda _m, _i, out: self.unet.append(out)),
            control.register_forward_hook(lambda _m, _i, out: self.control_mid.append(out[-1])),
        ]
        denoise.euler_step = recorded
        try:
            yield
        finally:
            denoise.euler_step = step
            for handle in handles:
                handle.remove()


def sampling_parameters(meta: dict[str, Any]) -> SampleParams:
    """Of a run; what it passed beyond the usual stands in `extra`."""
    meta = {**meta, **meta.get("extra", {})}
    scale = meta.get("guidance_scale")
    return SampleParams.of(
        Parameters(),
        Sampling(),
        seed=meta["seed"],
        tile_size=meta["tile_size"],
        tile_overlap=meta.get("tile_overlap", meta.get("frames_overlap")),
        num_inference_steps=meta["steps"],
        guidance_min=meta.get("min_guidance_scale", scale),
        guidance_max=meta.get("max_guidance_scale", scale),
        noise_aug_strength=meta["noise_aug_strength"],
        control_scale=meta.get("controlnet_cond_scale", 1.0),
        motion_bucket_id=meta.get("motion_bucket_id", 127),
        condition_fps=meta.get("fps", 7),
    )


def _magnified(values: np.ndarray) -> Tensor:
    """Fields are recorded once per 8 x 8 block."""
    return torch.from_numpy(values).repeat_interleave(8, -1).repeat_interleave(8, -2)


def _inputs(case: Case, embedding: Tensor) -> ClipInputs:
    poses = torch.from_numpy(case["pose_u8"])
    points, visible = map(torch.from_numpy, case.body())
    dense, trajectory = _magnified(case["flow_8"][0]), _magnified(case["traj_8"][0])
    return ClipInputs(
        # Recorded as the pipeline receives it: the truncation of Q10 lies before.
        image=torch.from_numpy(case["image_u8"]).permute(2, 0, 1),
        frames=len(poses),
        rasters=lambda chunk: poses[chunk],
        fields=lambda chunk: (dense[chunk], trajectory[chunk]),
        points=points,
        visible=visible,
        correspondence=embedding,
    )


def _decode_checks(case: Case, vae: Any, latents: Tensor, prefix: str = "") -> Iterator[Check]:
    chunks = decode_chunks(
        latents,
        decoder(vae),
        chunk_size=case.meta["decode_chunk_size"],
        scaling_factor=case.meta["vae_config"]["scaling_factor"],
        dtype=torch.float32,
    )
    decoded = torch.cat(list(chunks))
    expected = case["decoded"][0].swapaxes(0, 1)
    yield Check(f"{prefix}decoded", max_abs(decoded, expected), 2e-3)
    frames = to_pixels(decoded).permute(0, 3, 1, 2)
    yield Check(f"{prefix}frames_u8", max_abs(frames, case["frames_u8"][0]), 1.0)


def _condition_checks(
    case: Case, inputs: ClipInputs, networks: Networks, parameters: SampleParams
) -> Iterator[Check]:
    image_noise = torch.from_numpy(case["image_noise"])
    conditions, embedding = condition_clip(
        inputs, networks, parameters, image_noise, Rung("single_tile", 1)
    )
    pixels = clip_pixels(normalise_image(inputs.image), CLIP_MEAN, CLIP_STD)
    stride = pixels.shape[-1] // case["clip_pixel_values_sub"].shape[-1]
    actual = {
        "clip_pixel_values_sub": pixels[..., ::stride, ::stride],
        "image_embeds": embedding,
        "encoder_hidden_states": guidance_contexts(embedding, guided=True).swapaxes(0, 1),
        "image_latents": torch.stack([torch.zeros_like(conditions.image), conditions.image]),
        "pose_latents": conditions.pose.gather(Tile.of(range(inputs.frames), networks.device)),
    }
    for name, value in actual.items():
        yield Check(name, relative_to_peak(value, case[name]), 2e-5)
    ids = added_time_ids(
        parameters.noise_aug_strength,
        condition_fps=parameters.condition_fps,
        motion_bucket_id=parameters.motion_bucket_id,
        device="cpu",
    )
    ids = ids.expand(2, -1)
    yield Check("added_time_ids", max_abs(ids, case["added_time_ids"]), 1e-6)


def _noise_checks(case: Case, parameters: SampleParams) -> Iterator[Check]:
    height, width = case["image_u8"].shape[:2]
    image, latents = draw_noise(
        parameters.seed,
        height=height,
        width=width,
        tile_size=parameters.tile_size,
        device="cpu",
    )
    yield Check("image_noise", max_abs(image, case["image_noise"]), 1e-5)
    yield Check("init_noise", max_abs(latents, case["init_noise"][0]), 1e-5)


def replay_generator(case: Case) -> Iterator[Check]:
    """As `replay_pipeline`; here the recorded initial latents come from the seed as well."""
    yield from _noise_checks(case, sampling_parameters(case.meta))
    yield from replay_pipeline(case)


def replay_pipeline(case: Case) -> Iterator[Check]:
    """Denoising loop and decoder on recorded inputs and noise."""
    meta, height, width = case.meta, case.meta["H"], case.meta["W"]
    parameters = sampling_parameters(meta)
    feature_map = torch.from_numpy(case["dift_feat"][0])
    points, visible = case.body()
    embedding = keypoint_embedding(feature_map, points[0], visible[0], height, width).float()
    yield Check("ref_point_emb", relative_to_peak(embedding, case["ref_point_emb"][0]), 2e-5)
    vae = build_vae(meta, case.salt)
    networks = build_networks(meta, case.salt, vae=vae)
    inputs = _inputs(case, embedding)
    yield from _condition_checks(case, inputs, networks, parameters)
    noise = torch.from_numpy(case["image_noise"]), torch.from_numpy(case["init_noise"][0])
    recorder, states = Recorder(), []
    with recorder.listening(networks):
        sample_clip(inputs, networks, parameters, noise, RUNG, after_step=states.append)
    tiles = len(case["tile_unet"])
    unet, mid = torch.stack(recorder.unet[:tiles]), torch.stack(recorder.control_mid[:tiles])
    yield Check("tile_unet", relative_to_peak(unet, case["tile_unet"]), 1e-4)
    yield Check("tile_ctrl_mid", relative_to_peak(mid, case["tile_ctrl_mid"]), 1e-4)
    latents = torch.stack([state.latents for state in states])
    yield Check("step_latents", max_abs(latents, case["step_latents"][:, 0]), 2e-3)
    model_out = torch.stack(recorder.model_out)
    yield Check("model_out", max_abs(model_out, case["model_out"][:, 0]), 1e-3)
    yield from _decode_checks(case, vae, latents[-1])


def without_gradients(replay: Any) -> Any:
    def replayed(case: Case) -> Iterator[Check]:
        with torch.no_grad():
            yield from replay(case)

    return replayed


FAMILIES = [
    Family("pipeline/generator*", without_gradients(replay_generator)),
    Family("pipeline/*", without_gradients(replay_pipeline)),
]
