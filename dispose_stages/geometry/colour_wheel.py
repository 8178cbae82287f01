"""Flow fields as colours: hue is the direction, saturation the speed. For people to look at."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

MARGIN = 4


def flow_limit(flow: Float[np.ndarray, "*axes 2 height width"]) -> float:
    """Largest speed of a field, pixels; the limit that shows all of it, never zero."""
    speed = np.sqrt((np.asarray(flow, dtype=np.float32) ** 2).sum(axis=-3))
    return max(float(speed.max(initial=0.0)), 1e-6)


def flow_colours(
    flow: Float[np.ndarray, "2 height width"], limit: float
) -> UInt8[np.ndarray, "height width 3"]:
    """Flow as RGB: white where nothing moves, full colour at `limit` pixels and beyond.

    Right is red, down yellow-green, left cyan, up violet, as in an image (y points down).

    Args:
        flow: ``(dx, dy)`` in pixels.
        limit: Speed that is shown in full colour.
    """
    across, down = np.asarray(flow, dtype=np.float32)
    hue = np.rad2deg(np.arctan2(down, across)) % 360.0
    saturation = np.minimum(np.hypot(across, down) / np.float32(limit), 1.0)
    hsv = np.stack([hue, saturation, np.ones_like(hue)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(np.rint(rgb * 255).astype(np.uint8))


def wheel(diameter: int) -> UInt8[np.ndarray, "diameter diameter 3"]:
    """The legend: what colour every direction and speed up to the limit has; black around."""
    axis = (np.arange(diameter) + 0.5) / diameter * 2 - 1
    across, down = np.meshgrid(axis, axis)
    colours = flow_colours(np.stack([across, down]), 1.0)
    colours[np.hypot(across, down) > 1.0] = 0
    return colours


def add_legend(
    image: UInt8[np.ndarray, "height width 3"], limit: float
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy with the wheel in its lower right corner and the speed at its rim beside it.

    Args:
        image: From `flow_colours`.
        limit: As given to it.
    """
    out = np.ascontiguousarray(image).copy()
    height, width = out.shape[:2]
    diameter = max(8, min(height, width) // 5)
    if diameter + 2 * MARGIN > min(height, width):
        return out
    top, left = height - diameter - MARGIN, width - diameter - MARGIN
    legend = wheel(diameter)
    area = out[top : top + diameter, left : left + diameter]
    np.copyto(area, legend, where=legend.any(axis=-1, keepdims=True))
    text, font = f"{limit:.3g} px", cv2.FONT_HERSHEY_SIMPLEX
    scale = diameter / 130
    (text_width, _), _ = cv2.getTextSize(text, font, scale, 1)
    if text_width + MARGIN < left:
        place = (left - text_width - MARGIN, height - MARGIN - diameter // 8)
        cv2.putText(out, text, place, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return out
