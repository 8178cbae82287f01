"""The whole pipeline in memory, stage by stage with the stages' own code, for measuring quality."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame, MotionField, PoseTrack
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import diffusion_features, draw_noise, noise_seed
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.models.video_decoder import decode_video
from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_pose
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.propagation import propagate_flow
from dispose_stages.motion.sparse_input import sparse_impulses
from dispose_stages.sample import noise as sampling_noise
from dispose_stages.sample.clip import SamplingParameters, sample_clip
from dispose_stages.sample.inputs import clip_inputs
from dispose_stages.sample.memory import Placement, ladder
from dispose_stages.sample.stage import load_networks
from dispose_stages.weights import layout
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.loading.dift import load_dift
from dispose_stages.weights.loading.dwpose import load_dwpose
from dispose_stages.weights.loading.svd import load_vae
from dispose_stages.weights.verification import find_file

Image = UInt8[np.ndarray, "h w 3"]
_PROMPT = "photo of a person"


@dataclass(frozen=True, slots=True)
class Guidance:
    """Which guidance the ControlNet gets; neither means the plain base."""

    motion: bool = True
    correspondence: bool = True


@dataclass(frozen=True, slots=True)
class Animation:
    """A clip and what it was made from.

    Attributes:
        frames: Output, without the reference.
        motion: Aligned poses and the dense field.
        poses: Re-detected in the output.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    motion: MotionField
    poses: list[Frame]


class Animator:
    """All networks of a bundle, and the pipeline over them.

    Args:
        root: Folder of the bundle.
        device: Where to compute.
        threads: For drawing and ONNX Runtime.
    """

    def __init__(self, root: Path, *, device: torch.device | str = "cpu", threads: int = 1) -> None:
        self.device = torch.device(device)
        pair = load_dwpose(
            find_file(root, layout.DETECTOR),
            find_file(root, layout.WHOLE_BODY),
            device="cpu",
            allow_cpu=True,
            threads=threads,
        )
        self.pose_networks = PoseNetworks(
            detector=pair.detect,
            estimator=pair.estimate,
            detector_size=pair.detector.input_size,
            estimator_size=pair.estimator.input_size,
        )
        self.cmp = load_cmp(find_file(root, layout.CMP), device=self.device)
        self.dift = load_dift(root / layout.SD15, prompt=_PROMPT, device=self.device)
        self.diffusion = load_networks(root, torch.float32, Placement(self.device))
        self.vae: Any = load_vae(root / layout.SVD, dtype=torch.float32, device=self.device)
        self._threads = ThreadPoolExecutor(threads)

    def poses(self, images: Sequence[Image]) -> list[Frame]:
        """Detected persons of every image."""
        return [extract_pose(image, self.pose_networks) for image in images]

    def motion(
        self, reference: Image, found: list[Frame], size: tuple[int, int], fps: float = 12.0
    ) -> MotionField:
        """Stage ``motion``.

        Args:
            reference: At target size.
            found: Persons in every driving frame.
            size: Height and width of the driving frames.
            fps: Of the driver.

        Raises:
            UnitError: The pair cannot be aligned.
        """
        height, width = reference.shape[:2]
        still = PoseTrack.from_frames(self.poses([reference]), [0], height, width, 0.0)
        driving = PoseTrack.from_frames(found, list(range(len(found))), *size, fps)
        pair = align_pair(still, driving)
        empty = np.empty((0, 2, 0, 0), dtype=np.int16)
        tracks = MotionField(
            poses=pair.poses,
            person=pair.person,
            cmp_flow=empty,
            height=height,
            width=width,
            scale=pair.alignment.scale,
            shift=pair.alignment.shift,
            residual=pair.alignment.residual,
        )
        impulses = sparse_impulses(*tracks.body_track(), height, width, compat="official")
        flow = propagate_flow(self.cmp, reference, impulses, batch=4, device=self.device)
        fields = {name: getattr(tracks, name) for name in tracks.__dataclass_fields__}
        return MotionField(**fields | {"cmp_flow": to_fixed_point(flow)})

    def correspondence(
        self, reference: Image, motion: MotionField, *, seed: int = 42, ensemble: int = 8
    ) -> np.ndarray:
        """Stage ``correspondence``: feature per body keypoint of the reference."""
        height, width = reference.shape[:2]
        noise = draw_noise(noise_seed(reference, seed), ensemble, height, width)
        with torch.inference_mode():
            features = diffusion_features(
                self.dift,
                reference,
                noise,
                timestep=261,
                batch=ensemble,
                device=self.device,
                dtype=torch.float32,
            ).cpu()
        points, visible = motion.body_track()
        return keypoint_embedding(features, points[0], visible[0], height, width).numpy()

    def __call__(
        self,
        reference: Image,
        motion: MotionField,
        correspondence: np.ndarray,
        parameters: SamplingParameters,
        guidance: Guidance,
    ) -> Animation:
        """Stages ``sample`` and ``mux``, then the pose of the result."""
        inputs = clip_inputs(
            reference,
            motion,
            correspondence if guidance.correspondence else None,
            motion_guidance=guidance.motion,
            compat=parameters.compat,
            device=self.device,
            dtype=torch.float32,
            executor=self._threads,
        )
        noise = sampling_noise.draw_noise(
            parameters.seed,
            height=motion.height,
            width=motion.width,
            tile_size=parameters.tile_size,
            device=self.device,
        )
        with torch.inference_mode():
            latents = sample_clip(inputs, self.diffusion, parameters, noise, ladder(1)[0])
            frames = torch.cat(list(self._decoded(latents))).cpu().numpy()
        return Animation(frames, motion, self.poses(list(frames)))

    def _decoded(self, latents: torch.Tensor) -> Any:
        def decode(chunk: torch.Tensor) -> torch.Tensor:
            sample: torch.Tensor = self.vae.decode(chunk, num_frames=len(chunk)).sample
            return sample

        scaling = float(self.vae.config.scaling_factor)
        return decode_video(
            latents, decode, chunk_size=8, scaling_factor=scaling, dtype=torch.float32
        )


def body_of(frame: Frame, row: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Body keypoints of one person and whether each is visible."""
    return (
        frame.keypoints[row, BODY_KEYPOINTS],
        frame.scores[row, BODY_KEYPOINTS] > VISIBLE_SCORE,
    )
