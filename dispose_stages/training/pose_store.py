"""Poses of a clip store and their drawings, on disk beside it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.atomic import write_text
from dispose_stages.geometry.drawing import draw_pose
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.poses import observed_poses, single_person

_COUNT = "poses_count"


class PoseStore:
    """Detected-looking poses and pose images of every clip; those below `ready` are complete."""

    def __init__(self, clips: ClipStore) -> None:
        sizes = clips.sizes
        self.clips = clips
        self._counter = clips.folder / _COUNT
        mode = "r+" if self._counter.exists() else "w+"
        lead = (sizes.clips, sizes.frames)
        self.points: Float32[np.ndarray, "n f 134 2"] = self._array(
            "pose_points", (*lead, 134, 2), np.float32, mode
        )
        self.scores: Float32[np.ndarray, "n f 134"] = self._array(
            "pose_scores", (*lead, 134), np.float32, mode
        )
        self.rasters: UInt8[np.ndarray, "n f 3 h w"] = self._array(
            "pose_images", (*lead, 3, sizes.height, sizes.width), np.uint8, mode
        )
        if mode == "w+":
            write_text(self._counter, "0")

    @property
    def ready(self) -> int:
        """Clips that are complete."""
        return int(self._counter.read_text())

    def fill(self, *, chunk: int = 25) -> None:
        """Draw what is missing."""
        sizes = self.clips.sizes
        for first in range(self.ready, sizes.clips, chunk):
            last = min(first + chunk, sizes.clips)
            for index in range(first, last):
                self._draw(index)
            write_text(self._counter, str(last))

    def _draw(self, index: int) -> None:
        sizes = self.clips.sizes
        rng = np.random.default_rng((sizes.first_seed + index, 31))
        points, scores = observed_poses(self.clips.keypoints[index], sizes.height, sizes.width, rng)
        self.points[index], self.scores[index] = points, scores
        for frame in range(sizes.frames):
            person = single_person(points[frame], scores[frame])
            self.rasters[index, frame] = draw_pose(person, sizes.height, sizes.width)

    def _array(self, name: str, shape: tuple[int, ...], dtype: type, mode: str) -> np.ndarray:
        path = self.clips.folder / f"{name}.bin"
        return np.memmap(path, dtype=dtype, mode=mode, shape=shape)  # type: ignore[call-overload, no-any-return]
