"""The stages of the pipeline on images in memory, for measuring what a bundle can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dispose_stages.artifacts import Correspondence, MotionField, PoseTrack
from dispose_stages.batch.machine import settle_device
from dispose_stages.batch.stage import Context
from dispose_stages.config import Config
from dispose_stages.correspondence import stage as correspondence
from dispose_stages.correspondence.unit import CorrespondenceParams
from dispose_stages.motion import stage as motion
from dispose_stages.motion.unit import motion_params
from dispose_stages.mux import stage as mux
from dispose_stages.pose import stage as pose
from dispose_stages.sample import stage as sample
from dispose_stages.sample.clip import ClipInputs
from dispose_stages.sample.unit import SampleParams
from dispose_stages.store.artifacts import ArtifactStore

Pixels = UInt8[np.ndarray, "h w 3"]


class Animator:
    """All stages with their networks loaded; nothing is read from or written to a store.

    Args:
        config: Names the bundle; every parameter of the pipeline is taken from here.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        context = Context(
            config=config,
            store=ArtifactStore(Path(config.store)),
            models_root=config.models.folder,
            device=settle_device(config.compute, "sample"),
            videos=config.run_dir / "videos",
        )
        self._pose, self._motion = pose.load(context), motion.load(context)
        self._correspondence = correspondence.load(context)
        self._sample, self._mux = sample.load(context), mux.load(context)

    def poses(self, images: Sequence[Pixels], fps: float = 0.0) -> PoseTrack:
        """Persons in every image; all have one size."""
        frames = [self._pose.compute(image=image)[0] for image in images]
        height, width = images[0].shape[:2]
        return PoseTrack.from_frames(frames, list(range(len(frames))), height, width, fps)

    def motion(
        self, reference: Pixels, driving: PoseTrack, still: PoseTrack | None = None
    ) -> tuple[MotionField, Correspondence]:
        """Alignment and motion field of a pair, and the reference's diffusion features.

        Args:
            reference: At target size.
            still: Pose of the reference where it is known; else it is found.

        Raises:
            UnitError: The pair cannot be aligned.
        """
        still, config = still or self.poses([reference]), self.config
        field = self._motion.compute(
            reference=still,
            driving=driving,
            image=lambda: reference,
            params=motion_params(config.parameters, config.motion),
        )
        features = self._correspondence.compute(
            image=reference,
            pose=still,
            params=CorrespondenceParams.of(config.correspondence, config.motion, config.parameters),
        )
        return field, features

    def animate(
        self, reference: Pixels, field: MotionField, features: Correspondence, **changes: float
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """The clip, without the reference, before it is encoded.

        Args:
            reference: At target size.
            field: From `motion`.
            features: From `motion`.
            changes: Parameters of the row, such as ``motion_guidance=False``.
        """
        return self.frames(**self.inputs(reference, field, features, **changes))

    def inputs(
        self, reference: Pixels, field: MotionField, features: Correspondence, **changes: float
    ) -> dict[str, Any]:
        """The arguments of `frames`, from those of `animate`."""
        params = SampleParams.of(
            self.config.parameters.model_copy(update=changes), self.config.sampling
        )
        return self._sample.inputs(reference, field, features, params)

    def frames(self, inputs: ClipInputs, params: SampleParams) -> UInt8[np.ndarray, "f h w 3"]:
        """The clip that becomes of what the sampler reads."""
        latents = self._sample.compute(inputs=inputs, params=params)
        own = self.config.parameters
        decoded = self._mux.decode(latents.latents, own.decode_chunk_size, own.decode_context)
        return np.stack(list(decoded))
