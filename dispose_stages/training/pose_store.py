"""Poses of a clip store and their drawings, on disk beside it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.drawing import draw_pose
from dispose_stages.training.clip_store import ArrayStore, ClipStore
from dispose_stages.training.poses import observed_poses


class PoseStore(ArrayStore):
    """Detected-looking poses and pose images of every clip."""

    def __init__(self, clips: ClipStore) -> None:
        super().__init__(clips.folder, "poses")
        self.clips = clips
        s = clips.sizes
        lead = (s.count, s.frames)
        self.points: Float32[np.ndarray, "n f 134 2"] = self.array(
            "pose_points", (*lead, 134, 2), np.float32
        )
        self.scores: Float32[np.ndarray, "n f 134"] = self.array(
            "pose_scores", (*lead, 134), np.float32
        )
        self.rasters: UInt8[np.ndarray, "n f 3 h w"] = self.array(
            "pose_images", (*lead, 3, s.height, s.width), np.uint8
        )

    def fill(self, *, chunk: int = 25) -> None:
        """Draw what is missing."""
        self.fill_up(self.clips.sizes.count, self._draw, chunk=chunk)

    def _draw(self, rows: slice) -> None:
        s = self.clips.sizes
        for row in range(rows.start, rows.stop):
            rng = np.random.default_rng((s.first_seed + row, 31))
            points, scores = observed_poses(self.clips.keypoints[row], s.height, s.width, rng)
            self.points[row], self.scores[row] = points, scores
            for frame in range(s.frames):
                person = Frame(points[[frame]], scores[[frame]], np.zeros((1, 4)), np.ones(1))
                self.rasters[row, frame] = draw_pose(person, s.height, s.width)
