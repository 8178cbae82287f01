"""Training of conditional motion propagation against the true flow of the procedural world."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE
from dispose_stages.geometry.dense_field import FLOW_LIMIT, resize_flow
from dispose_stages.models.cmp import CmpNetwork, expected_flow
from dispose_stages.motion.propagation import (
    CMP_SIZE,
    image_input,
    sparse_impulses,
    sparse_input,
)
from dispose_stages.training.clips import clip_scene
from dispose_stages.training.poses import observed_poses
from dispose_stages.training.world.scene import Scene

FlowBatch = tuple[
    Float[Tensor, "b 3 size size"], Float[Tensor, "b 4 size size"], Float[Tensor, "b 2 half half"]
]
_STRIDE = 3
"""Every so many pixels, in both directions, one is looked at by the loss over bins."""


def flow_batch(
    batch: int, *, clips: int, frames: int, height: int, width: int, first_seed: int
) -> FlowBatch:
    """Of every scene one driving frame; depends on the arguments only.

    Returns:
        References in [-1, 1]; sparse displacements ``(dx, dy, mask, mask)``; the flow they stand
        for, at half size, pixels of the full one, cut off at the network's limit.
    """
    items = []
    for index in range(clips):
        seed = first_seed + batch * clips + index
        scene = clip_scene(seed, frames=frames, height=height, width=width)
        rng = np.random.default_rng((seed, 41))
        items.append(_example(scene, int(rng.integers(1, frames)), rng))
    image, sparse, flow = (torch.cat(parts) for parts in zip(*items, strict=True))
    return image, sparse, flow


def _example(scene: Scene, frame: int, rng: np.random.Generator) -> FlowBatch:
    height, width = scene.background.shape[:2]
    first, second = scene.render(0), scene.render(frame)
    keypoints = np.stack([first.keypoints[0], second.keypoints[0]])
    points, scores = observed_poses(keypoints, height, width, rng)
    impulses = sparse_impulses(
        points[:, BODY_KEYPOINTS],
        scores[:, BODY_KEYPOINTS] > VISIBLE_SCORE,
        height,
        width,
        compat="official",
    )
    truth = torch.from_numpy(scene.flow(0, frame)).permute(2, 0, 1)[None].float()
    # On the network's square, at half of its size, in pixels of the full one.
    flow = 2 * resize_flow(truth, CMP_SIZE // 2, CMP_SIZE // 2)
    return image_input(first.image), sparse_input(impulses), flow.clamp(-FLOW_LIMIT, FLOW_LIMIT)


def flow_losses(
    network: CmpNetwork, batch: FlowBatch, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Cross-entropy over the flow's bins, at some pixels; those that move count more."""
    image, sparse, true = batch
    encoded = network.encode_image(image)
    logits = network.flow_decoder(encoded, network.flow_encoder(sparse))
    row, column = (int(start) for start in rng.integers(0, _STRIDE, 2))
    logits = logits[:, :, row::_STRIDE, column::_STRIDE].float()
    flow = true[:, :, row::_STRIDE, column::_STRIDE]
    moving = 0.2 + (flow.abs().sum(dim=1, keepdim=True) > 1).float()
    weight = moving / moving.mean()
    error = (expected_flow(logits) - flow).abs()
    return {
        "bins": (weight * bin_cross_entropy(logits, flow)).mean(),
        "pixels": 0.02 * (weight * error).mean(),
    }


def bin_cross_entropy(
    logits: Float[Tensor, "b bins_2 h w"], flow: Float[Tensor, "b 2 h w"]
) -> Float[Tensor, "b 2 h w"]:
    """Cross-entropy with the flow's value shared between the two nearest bin centres."""
    bins = logits.shape[1] // 2
    logs = logits.reshape(len(logits), 2, bins, *logits.shape[2:]).log_softmax(dim=2)
    position = (flow + FLOW_LIMIT) * bins / (2 * FLOW_LIMIT) - 0.5
    position = position.clamp(0, bins - 1 - 1e-3)
    lower = position.floor()
    share = position - lower
    index = lower.long().unsqueeze(2)
    below = logs.gather(2, index).squeeze(2)
    above = logs.gather(2, index + 1).squeeze(2)
    entropy: Tensor = (share - 1) * below - share * above
    return entropy
