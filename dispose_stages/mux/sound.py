"""Which stretch of the driver's sound belongs to the output."""

from __future__ import annotations


def driver_stretch(
    frames: int, fps: float, *, driver_fps: float, stride: int
) -> tuple[float, float]:
    """How much of the driver the output's frames were read from.

    Args:
        driver_fps: Average frame rate of the driver.
        stride: Driver frames per output frame.

    Returns:
        Seconds of the driver; and driver seconds per output second, 1 where the output moves as
        fast as the driver.
    """
    seconds = frames * stride / driver_fps
    return seconds, seconds / (frames / fps)
