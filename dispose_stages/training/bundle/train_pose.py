"""Train the tiny detector and pose network and write them as ONNX files.

This is how ``dispose_stages/training/bundle/data/*.onnx`` were made::

    python -m dispose_stages.training.bundle.train_pose --folder dispose_stages/training/bundle/data

Everything is drawn from seeds. Sums in another order (another CPU, another number of threads)
still give other weights of the same quality, which is why the result is shipped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dispose_stages.training.bundle.export import write_detector, write_pose
from dispose_stages.training.bundle.pose_data import detection_examples, pose_examples
from dispose_stages.training.bundle.pose_networks import (
    DETECTOR_SIZE,
    STRIDES,
    TARGET_SIGMA,
    TinyDetector,
    TinyPose,
)

logger = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
MEAN = torch.tensor([123.675, 116.28, 103.53])
STD = torch.tensor([58.395, 57.12, 57.375])
_LEVEL_LIMITS = (0.0, 48.0, 110.0, math.inf)
"""A figure is found at the stride whose range holds its longer side, pixels."""
_RATE = 2e-3
"""Highest learning rate."""


def train(
    network: nn.Module,
    examples: Callable[[int], Batch],
    loss: Callable[[Batch], Tensor],
    *,
    chunks: int,
    passes: int,
    batch_size: int = 32,
    settled: float = 0.0,
) -> None:
    """Train on chunk after chunk of fresh examples, one-cycle learning rate.

    A batch of whole images says little about the statistics that inference will use, so the last
    chunks may be trained with those (batch norm in evaluation mode).

    Args:
        examples: Draws the examples of a chunk.
        chunks: How many times fresh examples are drawn.
        passes: How many times each is seen.
        settled: Share of the chunks, the last ones, with the running statistics.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-3)
    schedule: torch.optim.lr_scheduler.OneCycleLR | None = None
    for chunk in range(chunks):
        batch = examples(chunk)
        network.train(chunk < chunks * (1 - settled))
        for index in _batches(len(batch[0]), batch_size, passes, seed=chunk):
            if schedule is None:
                steps = chunks * passes * (len(batch[0]) // batch_size)
                schedule = torch.optim.lr_scheduler.OneCycleLR(
                    optimizer, _RATE, total_steps=steps, pct_start=0.1
                )
            optimizer.zero_grad(set_to_none=True)
            value = loss((batch[0][index], batch[1][index]))
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        logger.info("chunk %d of %d: loss %.4f", chunk + 1, chunks, float(value.detach()))


def _batches(count: int, size: int, passes: int, *, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        order = torch.randperm(count, generator=generator)
        yield from torch.split(order[: count // size * size], size)


def detection_loss(network: TinyDetector, batch: Batch) -> Tensor:
    """Objectness and class by cross-entropy, boxes by generalised overlap."""
    images, boxes = batch
    rows = network.raw(images.permute(0, 3, 1, 2).float())
    target, weight, box = assign_cells(boxes)
    logits = rows[..., 4]
    objectness = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    found, boxed = target > 0, box.isfinite().all(dim=-1)
    person = F.binary_cross_entropy_with_logits(
        rows[..., 5][found], torch.ones_like(rows[..., 5][found]), reduction="sum"
    )
    overlap = (1 - _generalised_overlap(decode_rows(rows)[boxed], box[boxed])).mean()
    total: Tensor = (objectness + person) / max(1.0, float(found.sum())) + 3 * overlap
    return total


def _cells() -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    grids, strides = [], []
    for stride in STRIDES:
        side = torch.arange(DETECTOR_SIZE // stride)
        y, x = torch.meshgrid(side, side, indexing="ij")
        grids.append(torch.stack([x, y], dim=-1).flatten(0, 1))
        strides.append(torch.full((len(side) ** 2,), float(stride)))
    return torch.cat(grids).float(), torch.cat(strides)


def decode_rows(rows: Float[Tensor, "b n 6"]) -> Float[Tensor, "b n 4"]:
    """Boxes (x1, y1, x2, y2) in pixels of the letterboxed image."""
    grid, stride = _cells()
    center = (rows[..., :2] + grid) * stride[:, None]
    half = 0.5 * rows[..., 2:4].clamp(max=6).exp() * stride[:, None]
    return torch.cat([center - half, center + half], dim=-1)


def assign_cells(
    boxes: Float[Tensor, "b p 4"],
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"], Float[Tensor, "b n 4"]]:
    """Which cells shall find which box.

    Returns:
        Wanted objectness; its weight, 0 for cells about a centre, which may find the box or not;
        the box that a cell shall give if it finds one, NaN for none.
    """
    grid, stride = _cells()
    center = (grid + 0.5) * stride[:, None]
    target = torch.zeros(len(boxes), len(grid))
    weight = torch.ones_like(target)
    chosen = torch.full((len(boxes), len(grid), 4), math.nan)
    for person in range(boxes.shape[1]):
        box = boxes[:, person]
        size = (box[:, 2:] - box[:, :2]).amax(dim=1)
        middle = 0.5 * (box[:, :2] + box[:, 2:])
        distance = (center[None] - middle[:, None]).abs().amax(dim=-1) / stride
        for level, value in enumerate(STRIDES):
            in_range = (size >= _LEVEL_LIMITS[level]) & (size < _LEVEL_LIMITS[level + 1])
            cells = (stride == value)[None] & in_range[:, None]
            near, about = cells & (distance < 0.75), cells & (distance < 1.5)
            weight[about & (target == 0)] = 0.0
            target[near], weight[near] = 1.0, 1.0
            free = near | (about & chosen.isnan().any(dim=-1))
            chosen = torch.where(free[..., None], box[:, None], chosen)
    return target, weight, chosen


def _generalised_overlap(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, "n"]:
    """Intersection over union, less the share of the hull that neither covers."""
    shared = (torch.minimum(a, b)[:, 2:] - torch.maximum(a, b)[:, :2]).clamp(min=0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - shared
    hull = (torch.maximum(a, b)[:, 2:] - torch.minimum(a, b)[:, :2]).prod(dim=1)
    score: Tensor = shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
    return score


def pose_loss(network: TinyPose, batch: Batch) -> Tensor:
    """Cross-entropy to a narrow peak per axis; to nothing in particular where there is no point."""
    crops, keypoints = batch
    image = ((crops.float() - MEAN) / STD).permute(0, 3, 1, 2)
    x, y = network.raw(image)
    total = torch.zeros(())
    weight = _keypoint_weights()
    for logits, position in ((x, keypoints[..., 0]), (y, keypoints[..., 1])):
        bins = torch.arange(logits.shape[-1])
        # The decoder reads location = bin / 2.
        distance = (bins - 2 * position[..., None]) / TARGET_SIGMA
        peak = torch.exp(-0.5 * distance**2)
        peak = torch.where(torch.isfinite(peak), peak, torch.ones(()))
        peak = peak / peak.sum(dim=-1, keepdim=True)
        entropy = -(peak * logits.log_softmax(dim=-1)).sum(dim=-1)
        total = total + (entropy * weight).mean()
    return total


def _keypoint_weights() -> Float[Tensor, "133"]:
    """The body counts for more than the many points of face and hands."""
    weight = torch.full((133,), 0.6)
    weight[:17], weight[17:23] = 3.0, 1.5
    return weight / weight.mean()


def train_detector(seed: int, *, chunks: int = 10, size: int = 2048) -> TinyDetector:
    """A detector for procedural figures."""
    torch.manual_seed(seed)
    network = TinyDetector()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def examples(chunk: int) -> Batch:
        images, boxes = detection_examples(size, seed=1_000_000 * (seed + 1) + 10_000 * chunk)
        return torch.from_numpy(images), torch.from_numpy(boxes)

    train(
        network,
        examples,
        lambda b: detection_loss(network, b),
        chunks=chunks,
        passes=4,
        settled=0.5,
    )
    network.eval()
    return network


def train_pose_network(seed: int, *, chunks: int = 12, size: int = 4096) -> TinyPose:
    """A pose network for procedural figures."""
    torch.manual_seed(seed)
    network = TinyPose()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def examples(chunk: int) -> Batch:
        crops, points = pose_examples(size, seed=500_000_000 + 1_000_000 * seed + 10_000 * chunk)
        return torch.from_numpy(crops), torch.from_numpy(points)

    train(network, examples, lambda b: pose_loss(network, b), chunks=chunks, passes=2)
    network.eval()
    return network


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Written into.")
@click.option("--seed", default=0, show_default=True, help="Of data and weights.")
@click.option("--chunks", default=12, show_default=True, help="Training length of the pose part.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option(
    "--only", type=click.Choice(["both", "detector", "pose"]), default="both", help="Which network."
)
def main(folder: Path, seed: int, chunks: int, threads: int, only: str) -> None:
    """Train both networks and export them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    np.seterr(invalid="ignore")
    folder.mkdir(parents=True, exist_ok=True)
    if only != "pose":
        write_detector(train_detector(seed), folder / "yolox_l.onnx")
    if only != "detector":
        write_pose(train_pose_network(seed, chunks=chunks), folder / "dw-ll_ucoco_384.onnx")


if __name__ == "__main__":
    main()
