"""Dense flow of a whole clip from the reference and a few displacements, by CMP at 384 x 384.

The image is encoded once, frames are decoded in batches. Source: algorithm §5 (dense field),
quirks Q8 and Q9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

from dispose_stages.config import Compat
from dispose_stages.geometry.tracks import Impulses, pixel_track, reference_to_frame, scale_track
from dispose_stages.models.cmp import CmpNetwork

CMP_SIZE = 384
"""Side of the square that CMP works on, pixels."""


def image_input(
    image: UInt8[np.ndarray, "height width 3"], size: int = CMP_SIZE
) -> Float32[Tensor, "1 3 size size"]:
    """The reference for the image encoder: nearest pixel, in [-1, 1], no mean or deviation."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return F.interpolate(planes.float() / 255, size=(size, size), mode="nearest") * 2 - 1


def sparse_impulses(
    points: Float64[np.ndarray, "f k 2"],
    visible: Bool[np.ndarray, "f k"],
    height: int,
    width: int,
    *,
    compat: Compat,
    size: int = CMP_SIZE,
) -> Impulses:
    """Displacements from the reference to every other frame, on the network's square.

    Args:
        points: Normalised ``(x, y)`` of the driving person, reference first.
        visible: Whether each keypoint counts.
        height: Target height, pixels.
        width: Target width, pixels.
        compat: ``official`` or ``corrected`` (Q8).
        size: Side of the square, pixels.
    """
    track = pixel_track(points, visible, height, width)
    return reference_to_frame(scale_track(track, height, width, size), visible, compat=compat)


def sparse_input(impulses: Impulses, size: int = CMP_SIZE) -> Float32[Tensor, "t 4 size size"]:
    """Channels ``(dx, dy, mask, mask)``, zero where no keypoint is written."""
    values = np.zeros((len(impulses), 4, size, size), dtype=np.float32)
    frame, keypoint = np.nonzero(impulses.written)
    row, column = impulses.rows[frame, keypoint], impulses.columns[frame, keypoint]
    values[frame, :2, row, column] = impulses.displacement[frame, keypoint]
    values[frame, 2:, row, column] = 1.0
    return torch.from_numpy(values)


def propagate_flow(
    network: CmpNetwork,
    image: UInt8[np.ndarray, "height width 3"],
    impulses: Impulses,
    *,
    batch: int,
    device: torch.device | str,
    size: int = CMP_SIZE,
) -> Iterator[Float32[np.ndarray, "n 2 half half"]]:
    """Flow from the reference to every frame, a batch of frames at a time.

    Args:
        network: Encodes the image and propagates displacements.
        image: Reference at target size, RGB.
        impulses: From `sparse_impulses`, of all frames.
        batch: Frames decoded at once; memory grows with it (about 0.2 GB per frame at 384), the
            result does not depend on it beyond the rounding of the convolutions.
        device: Where the network is.
        size: Side of the square, pixels.

    Yields:
        Pixels of the `size`-pixel square.
    """
    with torch.inference_mode():
        encoded = network.encode_image(image_input(image, size).to(device))
    for start in range(0, len(impulses), batch):
        sparse = sparse_input(impulses[start : start + batch], size).to(device)
        with torch.inference_mode():
            flow = network.propagate(encoded, sparse).float().cpu().numpy()
        yield flow
