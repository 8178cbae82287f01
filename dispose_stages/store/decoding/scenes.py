"""Where a video goes over to another scene, found while it is decoded for other reasons.

ffmpeg's filter ``scdet`` says how much each small picture differs from the one before, beyond what
that one differed already, so that steady motion and pans are no cuts. What comes back is none
either: a flash, somebody who passes close to the camera. Out of black, a scene begins with its
first picture. Slow dissolves are not found.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from dispose_stages.store.decoding.pixels import filtered, rgb_graph

_SIDE = 64
"""Longer side of the pictures that are compared, pixels."""
_SCORE = 8.0
"""Of the filter, 0 to 100, from which a picture may begin a scene."""
_ALIKE = 0.8
"""Correlation from which two pictures show one scene, whatever their brightness."""
_INTERRUPTION = 0.4
"""Seconds within which a scene that was only interrupted comes back."""
_BLACK = 40
"""Level below which all but a fiftieth of a black picture lies."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(slots=True)
class _Candidate:
    """A scene that may have begun.

    Attributes:
        index: Its first frame.
        before: Picture of the scene it took the place of.
        left: Pictures among which that scene may still come back.
    """

    index: int
    before: Picture
    left: int


class SceneCuts:
    """Finds the first frame of every scene but the first.

    Args:
        fps: Frame rate of the video.
    """

    def __init__(self, fps: float) -> None:
        self._patience = max(2, round(_INTERRUPTION * fps))
        self._filter = _SceneFilter()
        self._found: list[int] = []
        self._candidates: list[_Candidate] = []
        self._recent: deque[Picture] = deque(maxlen=self._patience)
        self._black = False

    def add(self, index: int, frame: VideoFrame) -> None:
        """Look at the next frame."""
        picture, score = self._filter(frame)
        if np.percentile(picture, 98) < _BLACK:
            self._black = True
            return
        came_back = self._settle(picture)
        if self._recent and not came_back and (score >= _SCORE or self._black):
            # What fades away is seen better some time before.
            before = self._recent[0 if self._black else -1]
            self._candidates.append(_Candidate(index, before, self._patience))
        self._recent.append(picture)
        self._black = False

    def _settle(self, picture: Picture) -> bool:
        """Decide on earlier candidates; whether one of their scenes is back."""
        for number, candidate in enumerate(self._candidates):
            if _alike(candidate.before, picture):
                del self._candidates[number:]
                return True
            candidate.left -= 1
        while self._candidates and not self._candidates[0].left:
            self._found.append(self._candidates.pop(0).index)
        return False

    def frames(self) -> tuple[int, ...]:
        """First frames of the scenes, ascending; of those at the very end, too."""
        return (*self._found, *(candidate.index for candidate in self._candidates))


class _SceneFilter:
    """Small pictures, and how much each differs from the one before beyond its own difference."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._source: tuple[object, ...] = ()

    def __call__(self, frame: VideoFrame) -> tuple[Picture, float]:
        source = (frame.width, frame.height, frame.format.name)
        if self._graph is None or source != self._source:
            self._graph, self._source = _scene_graph(frame), source
        small = filtered(self._graph, frame)
        return small.to_ndarray(), float(small.metadata["lavfi.scd.score"])


def _scene_graph(frame: VideoFrame) -> Graph:
    scale = _SIDE / max(frame.width, frame.height)
    size = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return rgb_graph(frame, ":".join(map(str, size)) + ":flags=area:threads=1", "scdet")


def _alike(first: Picture, second: Picture) -> bool:
    """Whether two pictures show one scene."""
    if first.shape != second.shape:  # the stream changes its size
        return False
    pair = np.stack([picture.mean(axis=2).ravel() for picture in (first, second)])
    pair -= pair.mean(axis=1, keepdims=True)
    size = np.sqrt((pair**2).sum(axis=1)).prod()
    return bool(size == 0 or pair[0] @ pair[1] >= _ALIKE * size)
