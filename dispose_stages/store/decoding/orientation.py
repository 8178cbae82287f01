"""How stored pictures become upright."""

from __future__ import annotations

import struct

import numpy as np
from jaxtyping import UInt8

Matrix = tuple[int, int, int, int]
_UPRIGHT: dict[Matrix, tuple[int, bool]] = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, 1, 1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, -1, -1, 0): (270, True),
}
"""Signs of ``a b c d`` of a display matrix (x' = a·x + c·y, y' = b·x + d·y; y downwards) to
rotation, degrees clockwise, and mirroring after it."""


def orientation(display_matrix: bytes) -> tuple[int, bool]:
    """Degrees clockwise, and whether left and right are swapped after that.

    Args:
        display_matrix: Nine native 32-bit numbers, as containers record it; anything that is not
            near one of the eight orientations is taken for the nearest.
    """
    if len(display_matrix) != 36:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("9i", display_matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        signs = (_sign(a), 0, 0, _sign(d))
    else:
        signs = (0, _sign(b), _sign(c), 0)
    return _UPRIGHT.get(signs, (0, False))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def upright(
    picture: UInt8[np.ndarray, "h0 w0 3"], rotation: int, *, mirrored: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture turned, then mirrored; a view."""
    turned = np.rot90(picture, -rotation // 90)
    return turned[:, ::-1] if mirrored else turned
