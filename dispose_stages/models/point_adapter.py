"""Point adapter: correspondence features placed where the keypoints are (algorithm §7, Q6).

The definition scatters features on a grid of 1/16 of the image, applies an MLP to every cell,
masks empty cells, resizes bilinearly and multiplies by the nearest-resized mask. Only the few
occupied cells differ from zero and resizing is linear and separable, so the same is computed as a
sum over keypoints of ``MLP(feature) * rows * columns``. Keypoints that share a cell have the same
(averaged) feature and a share of it each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

_GRID = 16
_HIDDEN_CHANNELS = 128


class _Level(nn.Module):
    """The MLP of one level; a module of its own to match the published names."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, _HIDDEN_CHANNELS),
            nn.SiLU(),
            nn.Linear(_HIDDEN_CHANNELS, out_channels),
        )

    def forward(self, features: Float[Tensor, "*n d"]) -> Float[Tensor, "*n c"]:
        output: Tensor = self.mlp(features)
        return output


class PointAdapter(nn.Module):
    """Features per keypoint to a feature map per down block.

    Args:
        in_channels: Width of a keypoint's feature.
        out_channels: Width per level.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int]) -> None:
        super().__init__()
        self.model_list = nn.ModuleList(_Level(in_channels, width) for width in out_channels)

    def forward(
        self,
        embedding: Float[Tensor, "k d"],
        points: Float[Tensor, "f k 2"],
        visible: Bool[Tensor, "f k"],
        *,
        height: int,
        width: int,
    ) -> tuple[Float[Tensor, "f _ _ _"], ...]:
        """Feature maps of every frame; no host synchronisation.

        Args:
            embedding: Reference feature per keypoint, zero where invisible in the reference.
            points: Keypoints per frame, normalised ``(x, y)``. Their own precision decides the
                cell.
            visible: Which keypoints are visible in each frame.
            height: Of the image, a multiple of 64.

        Returns:
            One map per level, at 1/16, 1/32, 1/64, 1/64 ... of the image's size.
        """
        like = self.model_list[0].mlp[0].weight  # type: ignore[union-attr, index]
        rows, columns = height // _GRID, width // _GRID
        cell = _cells(points.to(like.device), rows, columns)
        present = visible.to(like.device) & (points.to(like.device) >= 0).all(dim=-1)
        features, share = _average_within_cells(embedding.to(like), cell, present)
        in_row = F.one_hot(cell[..., 1], rows).to(like.dtype)
        in_column = F.one_hot(cell[..., 0], columns).to(like.dtype)
        occupied = torch.einsum("fky,fkx->fyx", in_row * present[..., None], in_column) > 0
        maps = []
        for level, mlp in enumerate(self.model_list):
            factor = 2 ** min(level, max(len(self.model_list) - 2, 0))
            size = (rows // factor, columns // factor)
            placed = torch.einsum(
                "fky,fkx->fkyx", _resize(in_row, size[0]), _resize(in_column, size[1])
            )
            value = mlp(features) * share[..., None]
            summed = torch.einsum("fkc,fkyx->fcyx", value, placed)
            mask = F.interpolate(occupied[:, None].to(like.dtype), size=size, mode="nearest")
            maps.append(summed * mask)
        return tuple(maps)


def _cells(points: Float[Tensor, "f k 2"], rows: int, columns: int) -> Int64[Tensor, "f k 2"]:
    """Grid cell ``(x, y)`` of each keypoint, truncated and clipped."""
    scale = torch.tensor([columns, rows], dtype=points.dtype, device=points.device)
    cell = (points * scale).to(torch.int64)
    return cell.clamp(min=0).minimum(scale.to(torch.int64) - 1)


def _average_within_cells(
    embedding: Float[Tensor, "k d"],
    cell: Int64[Tensor, "f k 2"],
    present: Bool[Tensor, "f k"],
) -> tuple[Float[Tensor, "f k d"], Float[Tensor, "f k"]]:
    """Mean feature of each keypoint's cell, and the keypoint's share in that cell."""
    same = (cell[:, :, None] == cell[:, None, :]).all(dim=-1)
    together = (same & present[:, :, None] & present[:, None, :]).to(embedding.dtype)
    share = present.to(embedding.dtype) / together.sum(dim=-1).clamp(min=1)
    return torch.einsum("fkj,jd->fkd", together, embedding) * share[..., None], share


def _resize(one_hot: Float[Tensor, "f k n"], size: int) -> Float[Tensor, "f k m"]:
    """Bilinear resize along one axis, half-pixel centres, no antialiasing."""
    return F.interpolate(one_hot, size=size, mode="linear", align_corners=False)
