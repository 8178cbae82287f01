"""What the ControlNet reads about the procedural clips: motion fields and correspondence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE
from dispose_stages.config import Compat, Config
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import diffusion_features, draw_noise, noise_seed
from dispose_stages.geometry.dense_field import dense_field, to_fixed_point
from dispose_stages.geometry.trajectory import trajectory_field
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.motion.propagation import propagate_flow, sparse_impulses
from dispose_stages.training.clip_batches import ClipBatches
from dispose_stages.training.clip_store import ArrayStore
from dispose_stages.training.clips import clip_scene
from dispose_stages.training.control import ControlBatch
from dispose_stages.training.pose_store import PoseStore

FEATURES = Config().correspondence
COMPAT: Compat = "official"
"""The bundle is trained on what the official mode computes, quirks included."""


class ControlStore(ArrayStore):
    """Dense fields and keypoint features of every clip."""

    def __init__(self, poses: PoseStore, point_channels: int) -> None:
        super().__init__(poses.folder, "control")
        self.poses = poses
        s = poses.clips.sizes
        self.dense: Float16[np.ndarray, "n f 2 h w"] = self.array(
            "dense", (s.count, s.frames - 1, 2, s.height, s.width), np.float16
        )
        self.features: Float32[np.ndarray, "n 18 d"] = self.array(
            "features", (s.count, 18, point_channels), np.float32
        )

    def body(self, clip: int) -> tuple[Float[np.ndarray, "f 18 2"], Bool[np.ndarray, "f 18"]]:
        """Body keypoints of a clip, normalised, and whether each counts."""
        points = self.poses.points[clip][:, BODY_KEYPOINTS].astype(np.float64)
        return points, self.poses.scores[clip][:, BODY_KEYPOINTS] > VISIBLE_SCORE

    def fill(
        self, cmp: CmpNetwork | None, dift: Any, *, clips: int, device: torch.device | str = "cpu"
    ) -> None:
        """Compute what is missing of the first `clips` clips.

        Args:
            cmp: Gives the dense field; the world's own flow is taken without one.
            dift: Gives the features.
            clips: How many are needed.
            device: Where both networks are.
        """

        def make(rows: slice) -> None:
            image = np.array(self.poses.clips.images[rows.start, 0])
            if cmp is None:
                self.dense[rows.start] = self._true_flow(rows.start)
            else:
                self.dense[rows.start] = self._propagated(rows.start, image, cmp, device)
            self.features[rows.start] = self._embedding(rows.start, image, dift, device)

        self.fill_up(min(clips, self.poses.clips.sizes.count), make, chunk=1)

    def _true_flow(self, clip: int) -> Float32[np.ndarray, "f 2 h w"]:
        s = self.poses.clips.sizes
        scene = clip_scene(s.first_seed + clip, frames=s.frames, height=s.height, width=s.width)
        flow = np.stack([scene.flow(0, frame) for frame in range(1, s.frames)])
        return np.asarray(flow.transpose(0, 3, 1, 2), dtype=np.float32)

    def _propagated(
        self, clip: int, image: np.ndarray, cmp: CmpNetwork, device: torch.device | str
    ) -> Float32[np.ndarray, "f 2 h w"]:
        height, width = image.shape[:2]
        impulses = sparse_impulses(*self.body(clip), height, width, compat=COMPAT)
        flow = to_fixed_point(propagate_flow(cmp, image, impulses, batch=8, device=device))
        return dense_field(flow, height, width, device="cpu", dtype=torch.float32).numpy()

    def _embedding(
        self, clip: int, image: np.ndarray, dift: Any, device: torch.device | str
    ) -> Float32[np.ndarray, "18 d"]:
        height, width = image.shape[:2]
        noise = draw_noise(noise_seed(image, FEATURES.seed), FEATURES.ensemble, height, width)
        with torch.inference_mode():
            features = diffusion_features(
                dift,
                image,
                noise,
                timestep=FEATURES.timestep,
                batch=FEATURES.ensemble,
                device=device,
                dtype=torch.float32,
            ).cpu()
        points, visible = self.body(clip)
        return keypoint_embedding(features, points[0], visible[0], height, width).numpy()


class ControlBatches:
    """Batches for stage 2.

    Args:
        base: Batches of what the base reads; draws from clips that `store` holds.
        store: What the ControlNet reads beside.
    """

    def __init__(self, base: ClipBatches, store: ControlStore) -> None:
        self.base, self.store = base, store

    def __call__(self, batch: int) -> ControlBatch:
        """Batch number `batch`."""
        chosen = self.base.indices(batch)
        height, width = self.store.dense.shape[-2:]
        bodies = [self.store.body(clip) for clip in chosen]
        trajectories = [
            trajectory_field(
                points,
                visible,
                height,
                width,
                compat=COMPAT,
                device="cpu",
                dtype=torch.float32,
            )
            for points, visible in bodies
        ]
        base = self.base(batch)
        return ControlBatch(
            **{f.name: getattr(base, f.name) for f in fields(base)},
            dense=torch.from_numpy(self.store.dense[chosen].astype(np.float32)),
            trajectory=torch.stack(trajectories),
            embedding=torch.from_numpy(self.store.features[chosen]),
            points=torch.from_numpy(np.stack([points for points, _ in bodies])),
            visible=torch.from_numpy(np.stack([visible for _, visible in bodies])),
        )
