"""Rendered clips on disk: arrays that are mapped into memory, filled clip by clip, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.atomic import write_text
from dispose_stages.training.clips import render_clip
from dispose_stages.training.settings import Clips

_SIZES = "sizes.json"


class ArrayStore:
    """Arrays of one folder with a row per clip; rows below `ready` are complete.

    Args:
        folder: Shared with other stores of the same clips.
        name: Of this one's counter of complete rows.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._counter = folder / f"{name}_count"
        self._mode = "r+" if self._counter.exists() else "w+"

    def array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """One of the arrays, mapped into memory; zeros where nothing was written."""
        path = self.folder / f"{name}.bin"
        return np.memmap(path, dtype=dtype, mode=self._mode, shape=shape)  # type: ignore[call-overload, no-any-return]

    @property
    def ready(self) -> int:
        """Rows that are complete."""
        return int(self._counter.read_text()) if self._counter.exists() else 0

    def fill_up(self, rows: int, make: Callable[[slice], None], *, chunk: int) -> None:
        """Write the rows below `rows` that are missing, `chunk` at a time."""
        for first in range(self.ready, rows, chunk):
            part = slice(first, min(first + chunk, rows))
            make(part)
            write_text(self._counter, str(part.stop))


class ClipStore(ArrayStore):
    """Images, keypoints and boxes of rendered clips."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "clips")
        # Not validated: held-out clips have seeds that no setting may name.
        self.sizes = Clips.model_construct(**json.loads((folder / _SIZES).read_text()))
        s = self.sizes
        lead = (s.count, s.frames)
        self.images: UInt8[np.ndarray, "n f h w 3"] = self.array(
            "images", (*lead, s.height, s.width, 3), np.uint8
        )
        self.keypoints: Float32[np.ndarray, "n f 133 3"] = self.array(
            "keypoints", (*lead, 133, 3), np.float32
        )
        self.boxes: Float32[np.ndarray, "n f 4"] = self.array("boxes", (*lead, 4), np.float32)

    @classmethod
    def create(cls, folder: Path, sizes: Clips) -> ClipStore:
        """Lay out an empty store, or open the one that is there if its sizes are the same."""
        folder.mkdir(parents=True, exist_ok=True)
        text = sizes.model_dump_json()
        if not (folder / _SIZES).exists() or (folder / _SIZES).read_text() != text:
            # What other stores have about clips of other sizes goes too.
            for path in (*folder.glob("*_count"), *folder.glob("*.bin")):
                path.unlink()
            write_text(folder / _SIZES, text)
        return cls(folder)

    def fill(self, *, chunk: int = 25) -> None:
        """Render what is missing."""
        self.fill_up(self.sizes.count, self._render, chunk=chunk)

    def _render(self, rows: slice) -> None:
        s = self.sizes
        for row in range(rows.start, rows.stop):
            scene = s.scene(row)
            self.images[row], self.keypoints[row], self.boxes[row] = render_clip(scene)
