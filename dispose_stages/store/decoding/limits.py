"""How large pictures may be."""

from __future__ import annotations

from dataclasses import dataclass

from dispose_stages.errors import Reason
from dispose_stages.store.decoding.faults import MediaFaultError

MAX_DIMENSION = 16_384
"""Default limit on height and width, pixels."""
MAX_PIXELS = 64_000_000
"""Default limit on height x width."""


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Largest pictures.

    Attributes:
        dimension: Limit on height and width, pixels.
        pixels: Limit on height x width.
    """

    dimension: int = MAX_DIMENSION
    pixels: int = MAX_PIXELS

    def check(self, height: int, width: int) -> None:
        """Refuse pictures that would not fit in memory.

        Raises:
            MediaFaultError: ``media_too_large``.
        """
        if max(height, width) > self.dimension or height * width > self.pixels:
            message = (
                f"{width} x {height} pixels; allowed are {self.dimension} per side"
                f" and {self.pixels} in all"
            )
            raise MediaFaultError(Reason.MEDIA_TOO_LARGE, message)
