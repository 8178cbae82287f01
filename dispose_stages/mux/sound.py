"""Which stretch of the driver's sound belongs to the output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the driver.

    Attributes:
        start_seconds: Where it begins.
        seconds: How long it is in the driver.
        tempo: Driver seconds per output second; 1 where the output moves as fast as the driver.
    """

    start_seconds: float
    seconds: float
    tempo: float


def driver_stretch(
    frames: int, fps: float, *, driver_fps: float, stride: int, start_seconds: float
) -> Stretch:
    """The stretch that the output's frames were read from.

    Args:
        frames: Of the output.
        fps: Of the output.
        driver_fps: Average frame rate of the driver.
        stride: Driver frames per output frame.
        start_seconds: When the first driver frame is shown, counted from the file's beginning.
    """
    seconds = frames * stride / driver_fps
    return Stretch(start_seconds, seconds, seconds / (frames / fps))
