from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dispose_stages.models.point_adapter import PointAdapter
from tests.models.tiny_networks import random, randomized

CHANNELS = (8, 12, 16, 16)


def plainly(
    net: PointAdapter, embedding: Tensor, points: Tensor, visible: Tensor, size: tuple[int, int]
) -> list[Tensor]:
    """The definition: scatter on a grid, average, MLP at every cell, mask, resize, mask."""
    rows, columns = size[0] // 16, size[1] // 16
    levels = []
    for level, factor in enumerate((1, 2, 4, 4)):
        frames = []
        for frame, seen in zip(points, visible, strict=True):
            total = torch.zeros(rows, columns, embedding.shape[1], dtype=torch.float64)
            count = torch.zeros(rows, columns, dtype=torch.float64)
            for (x, y), here, feature in zip(frame, seen, embedding, strict=True):
                if not here or x < 0 or y < 0:
                    continue
                column = min(max(int(x * columns), 0), columns - 1)
                row = min(max(int(y * rows), 0), rows - 1)
                total[row, column] += feature
                count[row, column] += 1
            mean = total / count.clamp(min=1)[..., None]
            mask = (count > 0).double()
            grid = net.model_list[level](mean).permute(2, 0, 1) * mask
            target = (rows // factor, columns // factor)
            value = F.interpolate(grid[None], size=target, mode="bilinear", align_corners=False)
            frames.append(value * F.interpolate(mask[None, None], size=target, mode="nearest"))
        levels.append(torch.cat(frames))
    return levels


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (320, 192)])
@torch.no_grad()
def test_sum_over_keypoints_equals_the_definition(size: tuple[int, int]) -> None:
    """Crowded cells, hidden, negative and outlying keypoints, every level."""
    net = PointAdapter(24, CHANNELS).double()
    randomized(net)
    points = random(4, 18, 2, seed=5) * 0.4 + 0.5
    points[0, :6] = 0.3  # six keypoints on one cell
    points[1, 0] = torch.tensor([-0.01, 0.5])
    points[1, 1] = torch.tensor([1.2, 1.0])
    visible = random(4, 18, seed=6) > -0.5
    visible[3] = False
    embedding = random(18, 24, seed=7)
    embedding[2] = 0  # hidden in the reference: MLP(0) still counts (Q6)
    height, width = size
    actual = net(embedding, points, visible, height=height, width=width)
    expected = plainly(net, embedding, points, visible, size)
    for level, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == b.shape, level
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert expected[0].abs().max() > 0
    assert actual[0][3].abs().max() == 0


@torch.no_grad()
def test_a_keypoint_hidden_in_the_reference_leaves_a_mark() -> None:
    """A zero feature gives MLP(0), which is not zero (Q6)."""
    net = PointAdapter(24, CHANNELS).double()
    randomized(net)
    points = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    level = net(
        torch.zeros(1, 24, dtype=torch.float64),
        points,
        torch.ones(1, 1, dtype=torch.bool),
        height=64,
        width=64,
    )[0]
    assert level[0, :, 2, 2].abs().max() > 0
    assert int((level.abs().amax(1) > 0).sum()) == 1


def test_cells_come_from_the_precision_of_the_points() -> None:
    """Double-precision keypoints at a cell border are not rounded by half-precision weights."""
    net = PointAdapter(24, CHANNELS).to(torch.bfloat16)
    points = torch.tensor([[[0.2499, 0.5]]], dtype=torch.float64)
    level = net(
        torch.zeros(1, 24), points, torch.ones(1, 1, dtype=torch.bool), height=64, width=64
    )[0]
    occupied = level[0].abs().amax(0)
    assert occupied[2, 0] > 0
    assert occupied[2, 1] == 0
