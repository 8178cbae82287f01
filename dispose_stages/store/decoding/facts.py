"""What is known of a video before its frames are read; crosses from the decoder process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReaderName = Literal["decord", "av"]


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Facts of a video as a player shows it.

    Attributes:
        container: Comma-separated names of the format, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``.
        audio_codec: Of the first audio stream; empty if there is none.
        reader: Which library reads the frames.
        height: Upright and with square pixels, pixels.
        width: Upright and with square pixels, pixels.
        rotation: Degrees clockwise by which the stored picture is turned: 0, 90, 180 or 270.
        mirrored: Whether left and right are swapped after that.
        sample_aspect: Width of a stored pixel over its height.
        frames: Number of frames that are shown and that the file holds.
        fps: Average frame rate.
        variable_rate: Whether some frame is shown half a frame's time or more off its place on
            a regular grid.
        start_seconds: How much later than the file's beginning (and its sound) the first frame is
            shown; 0 for less than half a frame.
        hidden_frames: Frames that are stored and not shown (cut away without re-encoding).
        missing_frames: Frames that the file promises and does not hold, at the end.
        ordinary: Whether reading every stored frame, by number and as it is stored but upright,
            gives the same.
    """

    container: str
    codec: str
    audio_codec: str
    reader: ReaderName
    height: int
    width: int
    rotation: int
    mirrored: bool
    sample_aspect: float
    frames: int
    fps: float
    variable_rate: bool
    start_seconds: float
    hidden_frames: int
    missing_frames: int
    ordinary: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """What decoding a whole video brings up.

    Attributes:
        missing: Frames that cannot be decoded, those that the file promises and does not hold
            included.
        first_missing: Index of the first of them; -1 where there is none.
        damaged: Frames that the decoder patched up (smears, grey areas), and those at the beginning
            that it could not give at all.
        scene_cuts: First frame of every scene but the first.
    """

    missing: int
    first_missing: int
    damaged: int
    scene_cuts: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or patched up."""
        return not (self.missing or self.damaged)
