"""What the ControlNet reads about the procedural clips: motion fields and correspondence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32
from torch import Tensor

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE
from dispose_stages.config import Compat, Config
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import diffusion_features, draw_noise, noise_seed
from dispose_stages.geometry.dense_field import dense_field, to_fixed_point
from dispose_stages.geometry.trajectory import trajectory_field
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.models.control_net import MotionEmbedding
from dispose_stages.motion.propagation import propagate_flow, sparse_impulses
from dispose_stages.training.clip_batches import ClipBatches
from dispose_stages.training.clip_store import ArrayStore
from dispose_stages.training.control import ControlBatch
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.training.small_configs import SVD_UNET

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

    def fields(self, clip: int) -> tuple[Tensor, Tensor]:
        """Dense and trajectory field of a clip, each ``(f 2 h w)``, pixels."""
        height, width = self.dense.shape[-2:]
        trajectory = trajectory_field(
            *self.body(clip), height, width, compat=COMPAT, device="cpu", dtype=torch.float32
        )
        return torch.from_numpy(self.dense[clip].astype(np.float32)), trajectory

    def fill(
        self, cmp: CmpNetwork | None, dift: Any, *, clips: int, device: torch.device | str = "cpu"
    ) -> None:
        """Compute what is missing of the first `clips` clips.

        Args:
            cmp: Gives the dense field; the world's own flow is taken without one.
            dift: Gives the features.
            clips: How many are needed.
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
        sizes = self.poses.clips.sizes
        scene = sizes.scene(clip)
        flow = np.stack([scene.flow(0, frame) for frame in range(1, sizes.frames)])
        return np.asarray(flow.transpose(0, 3, 1, 2), dtype=np.float32)

    def _propagated(
        self, clip: int, image: np.ndarray, cmp: CmpNetwork, device: torch.device | str
    ) -> Float32[np.ndarray, "f 2 h w"]:
        height, width = image.shape[:2]
        impulses = sparse_impulses(*self.body(clip), height, width, compat=COMPAT)
        flow = np.concatenate(
            [
                to_fixed_point(f)
                for f in propagate_flow(cmp, image, impulses, batch=8, device=device)
            ]
        )
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


class StackStore(ArrayStore):
    """What a motion embedding's stacks make of the fields of every clip.

    The stacks work at full size and cost more than all else that stage 2 computes. They are not
    trained, so this is done once.
    """

    def __init__(self, control: ControlStore) -> None:
        super().__init__(control.folder, "stacks")
        self.control = control
        s, channels = control.poses.clips.sizes, SVD_UNET["block_out_channels"][0]
        shape = (s.count, s.frames - 1, channels, s.height // 8, s.width // 8)
        self.sums: Float16[np.ndarray, "n f c h w"] = self.array("stacks", shape, np.float16)

    @torch.no_grad()
    def fill(self, embedding: MotionEmbedding, *, device: torch.device | str = "cpu") -> None:
        """Compute what is missing of the clips that have fields."""

        def make(rows: slice) -> None:
            dense, trajectory = (field.to(device) for field in self.control.fields(rows.start))
            self.sums[rows.start] = embedding.stacked(dense, trajectory).cpu().numpy()

        self.fill_up(self.control.ready, make, chunk=1)


class ControlBatches:
    """Batches for stage 2.

    Args:
        base: Batches of what the base reads; draws from clips that `store` holds.
        store: What the ControlNet reads beside.
        stacks: What its motion embedding's stacks make of that, if they are not trained.
    """

    def __init__(
        self, base: ClipBatches, store: ControlStore, stacks: StackStore | None = None
    ) -> None:
        self.base, self.store, self.stacks = base, store, stacks

    def __call__(self, batch: int) -> ControlBatch:
        """Batch number `batch`."""
        chosen = self.base.indices(batch)
        bodies = [self.store.body(clip) for clip in chosen]
        dense, trajectory = zip(*map(self.store.fields, chosen), strict=True)
        stacked = None
        if self.stacks:
            stacked = torch.from_numpy(self.stacks.sums[chosen].astype(np.float32))
        base = self.base(batch)
        return ControlBatch(
            **{f.name: getattr(base, f.name) for f in fields(base)},
            dense=torch.stack(dense),
            trajectory=torch.stack(trajectory),
            embedding=torch.from_numpy(self.store.features[chosen]),
            points=torch.from_numpy(np.stack([points for points, _ in bodies])),
            visible=torch.from_numpy(np.stack([visible for _, visible in bodies])),
            stacked=stacked,
        )
