"""From images and detections to video, through the code of every stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame, MotionField, PoseTrack
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.geometry import frames as sizes
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.models.video_decoder import decode_video
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.propagation import propagate_flow, sparse_impulses
from dispose_stages.sample.clip import ClipInputs, sample_clip
from dispose_stages.sample.denoise import DenoisingState
from dispose_stages.sample.inputs import clip_inputs
from dispose_stages.sample.noise import draw_noise
from tests.parity.case import Case, Check, Family, max_abs, relative_to_peak
from tests.parity.families.motion import formula_cmp
from tests.parity.families.pose import OFFICIAL, raster_checks, recorded_frame
from tests.parity.families.sampling_runs import RUNG, sampling_parameters, without_gradients
from tests.parity.sampling_networks import build_networks, build_vae, decoder

CPU = torch.device("cpu")
LATENT_LIMIT = 2e-4  # of the largest magnitude, with the recorded pose images
OWN_RASTER_LIMIT = 2e-2  # with pose images drawn by another OpenCV
CORRESPONDENCE_CHANNELS = 1280


def _reference(case: Case) -> tuple[np.ndarray, Iterator[Check]]:
    target = sizes.target_size(*case["ref_u8"].shape[:2], int(case.meta["resolution"]))
    image = sizes.cover_resize(case["ref_u8"], *target)

    def checks() -> Iterator[Check]:
        yield Check("target_hw", max_abs(target, case.meta["target_hw"]), 0)
        yield Check("ref_target_u8", max_abs(image, case["ref_target_u8"]), 1)
        differing = float((image != case["ref_target_u8"]).mean())
        yield Check("ref_target_u8 differing", differing, 1e-3)

    # What follows starts from the recorded pixels, so that a rounding does not travel on.
    return case["ref_target_u8"], checks()


def _driving_frames(case: Case) -> list[Frame]:
    numbers = (re.fullmatch(r"in(\d+)_candidate", key) for key in case.keys())  # noqa: SIM118
    return [recorded_frame(case, f"in{n}_") for n in sorted(int(m[1]) for m in numbers if m)]


def _motion(case: Case, image: np.ndarray) -> MotionField:
    meta = case.meta
    height, width = image.shape[:2]
    indices = sizes.sampled_frames(
        int(meta["n_video_frames"]), float(meta["avg_fps"]), int(meta["sample_stride"])
    )
    driving = PoseTrack.from_frames(
        _driving_frames(case), indices, *(int(v) for v in meta["video_hw"]), float(meta["avg_fps"])
    )
    reference = PoseTrack.from_frames([recorded_frame(case, "ref_")], [0], height, width, 0.0)
    tracks = align_pair(reference, driving, OFFICIAL)
    points, visible = tracks.body_track()
    impulses = sparse_impulses(points, visible, height, width, compat="official")
    network = formula_cmp(prefix=meta["cmp_prefix"], salt=case.salt)
    flow = np.concatenate(list(propagate_flow(network, image, impulses, batch=2, device=CPU)))
    return replace(tracks, cmp_flow=to_fixed_point(flow))


def _motion_checks(case: Case, motion: MotionField, inputs: ClipInputs) -> Iterator[Check]:
    points, visible = motion.body_track()
    recorded_points, recorded_visible = case.body("body_")
    yield Check("body_candidate", max_abs(points, recorded_points), 1e-9)
    yield Check("body_subset", max_abs(visible, recorded_visible), 0)
    scores = [motion.poses[i].scores[row, BODY_KEYPOINTS] for i, row in enumerate(motion.person)]
    yield Check("body_score", max_abs(scores, case["body_score"][:, 0]), 1e-12)
    assert inputs.fields is not None
    dense, trajectory = inputs.fields(slice(0, inputs.frames - 1))
    for name, field, limit in (("cmp_flow", dense, 5e-3), ("traj", trajectory, 1e-6)):
        expected = case[name][0]
        stride = field.shape[-1] // expected.shape[-1]
        yield Check(name, max_abs(field[..., ::stride, ::stride], expected), limit)
    yield Check("cmp_flow_absmax", max_abs(dense.abs().max(), case["cmp_flow_absmax"]), 5e-3)
    total = float(trajectory.double().abs().sum())
    yield Check("traj_sum", relative_to_peak(total, case["traj_sum"]), 1e-4)


def _embedding(case: Case, height: int, width: int) -> np.ndarray:
    """Correspondence features from the map of normals that the recording names."""
    noise = np.random.Generator(np.random.PCG64(int(case.meta["seed"]) + 3))
    shape = (1, CORRESPONDENCE_CHANNELS, height // 16, width // 16)
    feature_map = torch.from_numpy(noise.standard_normal(shape).astype(np.float32))[0]
    frame = recorded_frame(case, "ref_")
    visible = frame.scores[0, BODY_KEYPOINTS] > VISIBLE_SCORE
    points = frame.keypoints[0, BODY_KEYPOINTS]
    embedding = keypoint_embedding(feature_map, points, visible, height, width)
    return embedding.float().numpy()


def _run_checks(
    case: Case, sample: Callable[[ClipInputs], Tensor], vae: Any, inputs: ClipInputs
) -> Iterator[Check]:
    """With the recorded pose images at the strict limit, then with our own."""
    recorded = torch.from_numpy(case["pose_u8"])
    own = inputs.rasters(slice(0, inputs.frames))
    for index, raster in enumerate(own.numpy()):
        yield from raster_checks(f"pose_u8[{index}]", raster, case["pose_u8"][index])
    latents = sample(replace(inputs, rasters=lambda chunk: recorded[chunk]))
    yield Check("latents", relative_to_peak(latents, case["latents"][:, 0]), LATENT_LIMIT)
    if not torch.equal(own, recorded):
        drawn = sample(inputs)
        limit = OWN_RASTER_LIMIT
        yield Check("latents, own raster", relative_to_peak(drawn, case["latents"][:, 0]), limit)
    video = decode_video(
        latents[-1],
        decoder(vae),
        chunk_size=int(case.meta["decode_chunk_size"]),
        scaling_factor=case.meta["vae_config"]["scaling_factor"],
        dtype=torch.float32,
    )
    frames = torch.cat(list(video)).permute(0, 3, 1, 2)
    yield Check("video_u8", max_abs(frames, case["video_u8"]), 1)


def replay_end_to_end(case: Case) -> Iterator[Check]:
    """Everything but the detector, the diffusion features and reading and writing of files."""
    image, checks = _reference(case)
    yield from checks
    motion = _motion(case, image)
    height, width = image.shape[:2]
    with ThreadPoolExecutor(1) as executor:
        inputs = clip_inputs(
            image,
            motion,
            _embedding(case, height, width),
            compat="official",
            device=CPU,
            dtype=torch.float32,
            executor=executor,
        )
        seen = inputs.image.permute(1, 2, 0)
        yield Check("ref_model_u8", max_abs(seen, case["ref_model_u8"]), 0)
        yield from _motion_checks(case, motion, inputs)
        vae = build_vae(case.meta, case.salt)
        networks = build_networks(case.meta, case.salt, vae=vae)
        parameters = sampling_parameters(case.meta)
        noise = draw_noise(
            parameters.seed,
            height=height,
            width=width,
            tile_size=parameters.tile_size,
            device=CPU,
        )

        def sample(inputs: ClipInputs) -> Tensor:
            states: list[DenoisingState] = []
            sample_clip(inputs, networks, parameters, noise, RUNG, after_step=states.append)
            return torch.stack([state.latents for state in states])

        yield from _run_checks(case, sample, vae, inputs)


FAMILIES = [Family("e2e/*", without_gradients(replay_end_to_end))]
