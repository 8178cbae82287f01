"""Frames read by PyAV."""

from __future__ import annotations

import bisect

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from dispose_stages.store.decoding.container import Video
from dispose_stages.store.decoding.facts import Inspection, VideoFacts
from dispose_stages.store.decoding.faults import missing_frame
from dispose_stages.store.decoding.index import FrameIndex
from dispose_stages.store.decoding.orientation import upright
from dispose_stages.store.decoding.pixels import RgbConverter
from dispose_stages.store.decoding.scenes import SceneCuts

Rgb = UInt8[np.ndarray, "h w 3"]


class AvReader:
    """PyAV: everything, as a player shows it.

    Args:
        facts: Upright size and orientation.
    """

    def __init__(self, path: str, index: FrameIndex, facts: VideoFacts) -> None:
        self._path, self._index, self._facts = path, index, facts
        turned = facts.rotation in {90, 270}
        size = (facts.width, facts.height) if turned else (facts.height, facts.width)
        self._rgb = RgbConverter(*size)
        self._start()

    def _start(self) -> None:
        self._video = Video(self._path)
        self._items = self._video.decoded()
        self._position = -1

    def read(self, index: int) -> Rgb:
        """See `FrameReader`."""
        if index == 0:
            return self.picture(self._index.first_frame)
        if index <= self._position:
            self.close()
            self._start()
        return self.picture(self._frame(index))

    def picture(self, frame: VideoFrame) -> Rgb:
        """RGB of a frame, upright."""
        facts = self._facts
        return upright(self._rgb(frame), facts.rotation, mirrored=facts.mirrored)

    def _frame(self, index: int) -> VideoFrame:
        """Decode on to a frame; the one that is missing is the first after the last that is not."""
        for item in self._items:
            before = self._position
            if isinstance(item, VideoFrame):
                self._position = self._place(item)
                if self._position == index:
                    return item
                if self._position > index:
                    raise missing_frame(before + 1)
            elif self._index.ends_at_holes and self._position >= 0:
                raise missing_frame(self._position + 1, item.error)
        raise missing_frame(self._position + 1)

    def _place(self, frame: VideoFrame) -> int:
        """Index of a frame; one that the index does not know takes the place before the next."""
        if self._index.stamps is None or frame.pts is None:
            return self._position + 1
        place = bisect.bisect_left(self._index.stamps, frame.pts)
        known = place < len(self._index.stamps) and self._index.stamps[place] == frame.pts
        return place if known else place - 1

    def inspect(self) -> Inspection:
        """Decode everything and see what is wrong with it, and where scenes begin."""
        self.close()
        self._start()
        seen, damaged, scenes = set(), set(), SceneCuts(self._facts.fps)
        for item in self._items:
            if isinstance(item, VideoFrame):
                self._position = self._place(item)
                seen.add(self._position)
                scenes.add(self._position, item)
                if item.is_corrupt:
                    damaged.add(self._position)
            elif self._index.ends_at_holes and self._position >= 0:
                break
        missing = sorted(set(range(self._facts.frames)) - seen)
        beyond = self._facts.missing_frames
        return Inspection(
            missing=len(missing) + beyond,
            first_missing=missing[0] if missing else self._facts.frames if beyond else -1,
            damaged=len(damaged) + self._index.lost,
            scene_cuts=scenes.frames(),
        )

    def close(self) -> None:
        """See `FrameReader`."""
        self._video.close()
