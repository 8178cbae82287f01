"""A painted layer that moves with one bone, and the outlines it is painted with."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dispose_stages.training.world.appearance import Color

Points = Float[np.ndarray, "n 2"]

_SHIFT = 4
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 7)


Stroke = tuple[Points, Color, int]
"""A polygon (thickness 0) or polyline in pixels, its colour, its thickness."""


@dataclass(slots=True)
class Layer:
    """What is painted along the axis from `start` to `end`.

    Attributes:
        name: The same in every frame.
        start: One end of the bone, pixels.
        end: Its other end.
        radii: Half widths at both ends, pixels.
        depth: Nearer to the camera is larger; body heights.
        strokes: Painted in order.
    """

    name: str
    start: Float[np.ndarray, "2"]
    end: Float[np.ndarray, "2"]
    radii: tuple[float, float]
    depth: float
    strokes: list[Stroke] = field(default_factory=list)

    def fill(self, polygon: Points, color: Color) -> None:
        """Add a filled polygon."""
        self.strokes.append((polygon, color, 0))

    def hull(self, points: Points, color: Color) -> None:
        """Add the convex hull of some points."""
        outline = cv2.convexHull(points.astype(np.float32))[:, 0]
        self.strokes.append((outline.astype(np.float64), color, 0))

    def line(self, points: Points, color: Color, thickness: int) -> None:
        """Add a polyline."""
        self.strokes.append((points, color, thickness))

    def paint(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Draw all strokes, smooth edges."""
        for points, color, thickness in self.strokes:
            _draw(image, points, color, thickness, cv2.LINE_AA)

    def stamp(self, labels: UInt8[np.ndarray, "h w"], label: int) -> None:
        """Write `label` wherever the layer covers a pixel."""
        for points, _, thickness in self.strokes:
            _draw(labels, points, label, thickness, cv2.LINE_8)


def _draw(
    image: np.ndarray, points: Points, color: Color | int, thickness: int, line_type: int
) -> None:
    fixed = [np.round(np.clip(points, -4000, 8000) * (1 << _SHIFT)).astype(np.int32)]
    if thickness:
        cv2.polylines(
            image,
            fixed,
            isClosed=False,
            color=color,
            thickness=thickness,
            lineType=line_type,
            shift=_SHIFT,
        )
    else:
        cv2.fillPoly(image, fixed, color, line_type, _SHIFT)


def axis_frame(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit vector along a bone, unit normal, length; a bone seen end-on points down."""
    along = end - start
    length = float(np.hypot(along[0], along[1]))
    along = along / length if length > 1e-6 else np.array([0.0, 1.0])
    return along, np.array([along[1], -along[0]]), length


def capsule(start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> Points:
    """Outline of a bone with round ends."""
    along, normal, _ = axis_frame(start, end)
    first = start + radii[0] * (np.outer(-np.cos(_ARC), along) + np.outer(np.sin(_ARC), normal))
    last = end + radii[1] * (np.outer(np.cos(_ARC), along) - np.outer(np.sin(_ARC), normal))
    return np.concatenate([first, last])


def ribbon(layer: Layer, v: np.ndarray, factor: np.ndarray, *, shift: float = 0.0) -> Points:
    """Outline in a layer's own coordinates.

    Args:
        layer: Gives axis and half widths.
        v: Positions along the axis, 0 at the start and 1 at the end, ascending.
        factor: Half width there, as a share of the layer's.
        shift: Sideways, as a share of the layer's half width; positive is to the image's right
            for an axis that points up.

    Returns:
        A closed outline.
    """
    along, normal, length = axis_frame(layer.start, layer.end)
    widths = layer.radii[0] + np.clip(v, 0, 1) * (layer.radii[1] - layer.radii[0])
    center = layer.start + np.outer(v * length, along) - np.outer(shift * widths, normal)
    offset = (factor * widths)[:, None] * normal
    return np.concatenate([center + offset, (center - offset)[::-1]])
