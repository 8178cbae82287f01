"""Rendered clips on disk: arrays that are mapped into memory, filled clip by clip, resumable."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.atomic import write_text
from dispose_stages.training.clips import clip_scene, render_clip

_SIZES = "sizes.json"
_COUNT = "count"


@dataclass(frozen=True, slots=True)
class ClipSizes:
    """Extent of a clip store.

    Attributes:
        clips: Number of clips.
        frames: Per clip, the reference included.
        height: Of the images, pixels.
        width: Likewise.
        first_seed: Seed of the first clip; the others follow.
    """

    clips: int
    frames: int
    height: int
    width: int
    first_seed: int


class ClipStore:
    """Clips in a folder; those with an index below `ready` are complete."""

    def __init__(self, folder: Path, *, mode: str = "r") -> None:
        self.folder = folder
        self.sizes = ClipSizes(**json.loads((folder / _SIZES).read_text()))
        s = self.sizes
        lead = (s.clips, s.frames)
        self.images: UInt8[np.ndarray, "n f h w 3"] = self._array(
            "images", (*lead, s.height, s.width, 3), np.uint8, mode
        )
        self.keypoints: Float32[np.ndarray, "n f 133 3"] = self._array(
            "keypoints", (*lead, 133, 3), np.float32, mode
        )
        self.boxes: Float32[np.ndarray, "n f 4"] = self._array(
            "boxes", (*lead, 4), np.float32, mode
        )

    @classmethod
    def create(cls, folder: Path, sizes: ClipSizes) -> ClipStore:
        """Lay out an empty store, or open the one that is there if its sizes are the same."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(sizes))
        fresh = not (folder / _SIZES).exists() or (folder / _SIZES).read_text() != text
        if fresh:
            write_text(folder / _COUNT, "0")
            for path in folder.glob("*.bin"):
                path.unlink()
            write_text(folder / _SIZES, text)
        return cls(folder, mode="w+" if fresh else "r+")

    @property
    def ready(self) -> int:
        """Clips that are complete."""
        return int((self.folder / _COUNT).read_text())

    def fill(self, *, chunk: int = 25) -> None:
        """Render what is missing."""
        s = self.sizes
        for first in range(self.ready, s.clips, chunk):
            last = min(first + chunk, s.clips)
            for index in range(first, last):
                scene = clip_scene(
                    s.first_seed + index, frames=s.frames, height=s.height, width=s.width
                )
                clip = render_clip(scene)
                self.images[index] = clip.images
                self.keypoints[index] = clip.keypoints
                self.boxes[index] = clip.boxes
            write_text(self.folder / _COUNT, str(last))

    def _array(self, name: str, shape: tuple[int, ...], dtype: type, mode: str) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        return np.memmap(path, dtype=dtype, mode=mode, shape=shape)  # type: ignore[call-overload, no-any-return]
