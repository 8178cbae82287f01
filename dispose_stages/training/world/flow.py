"""Dense optical flow of painted layers, known because every layer follows its bone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32, UInt8

from dispose_stages.training.world.layer import Layer, axis_frame


def layer_flow(
    labels: UInt8[np.ndarray, "h w"], layers: list[Layer], moved: Mapping[str, Layer]
) -> Float32[np.ndarray, "h w 2"]:
    """Displacement of every pixel with the layer it shows; 0 on the background.

    Args:
        labels: Number of the layer each pixel shows, counted from 1; 0 for none.
        layers: The layers of the first frame in the order of their numbers.
        moved: The layers of the second frame by name.

    Returns:
        ``(dx, dy)`` in pixels.
    """
    flow = np.zeros((*labels.shape, 2), dtype=np.float32)
    for number, layer in enumerate(layers, start=1):
        rows, columns = np.nonzero(labels == number)
        if len(rows):
            points = np.column_stack([columns, rows]) + 0.5
            flow[rows, columns] = follow_bone(points, layer, moved[layer.name]) - points
    return flow


def follow_bone(
    points: Float[np.ndarray, "n 2"], before: Layer, after: Layer
) -> Float[np.ndarray, "n 2"]:
    """Where points go that are fixed to a bone.

    A point keeps its relative position along the bone, its offset beyond the ends, and its
    sideways offset as a share of the half width.
    """
    along, normal, length = axis_frame(before.start, before.end)
    along_after, normal_after, length_after = axis_frame(after.start, after.end)
    offset = points - before.start
    distance = offset @ along
    share = np.clip(distance / length, 0, 1) if length > 1e-6 else np.zeros(len(points))
    beyond = distance - share * length
    width = before.radii[0] + share * (before.radii[1] - before.radii[0])
    width_after = after.radii[0] + share * (after.radii[1] - after.radii[0])
    ratio = width_after / np.maximum(width, 1e-6)
    place = share * length_after + beyond * ratio
    sideways = (offset @ normal) * ratio
    moved: np.ndarray = (
        after.start + np.outer(place, along_after) + np.outer(sideways, normal_after)
    )
    return moved
