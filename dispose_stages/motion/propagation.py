"""Dense flow of a whole clip: the image is encoded once, frames are decoded in batches."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dispose_stages.geometry.tracks import Impulses
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.motion.sparse_input import CMP_SIZE, image_input, sparse_input


def propagate_flow(
    network: CmpNetwork,
    image: UInt8[np.ndarray, "height width 3"],
    impulses: Impulses,
    *,
    batch: int,
    device: torch.device | str,
    size: int = CMP_SIZE,
) -> Float32[np.ndarray, "t 2 half half"]:
    """Flow from the reference to every frame, pixels of the `size`-pixel square.

    Args:
        network: Encodes the image and propagates displacements.
        image: Reference at target size, RGB.
        impulses: From `sparse_impulses`, of all frames.
        batch: Frames decoded at once; memory grows with it (about 0.2 GB per frame at 384), the
            result does not depend on it beyond the rounding of the convolutions.
        device: Where the network is.
        size: Side of the square, pixels.
    """
    frames = len(impulses)
    flow = np.empty((frames, 2, size // 2, size // 2), dtype=np.float32)
    with torch.inference_mode():
        encoded = network.encode_image(image_input(image, size).to(device))
        for start in range(0, frames, batch):
            chunk = slice(start, start + batch)
            sparse = sparse_input(impulses[chunk], size).to(device)
            flow[chunk] = network.propagate(encoded, sparse).float().cpu().numpy()
    return flow
