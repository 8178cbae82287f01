"""A very small person detector and whole-body pose network, for the figures of the tiny bundle.

They keep DWPose's inputs and outputs (algorithm §2) at smaller input sizes: the detector gives
``(1, cells, 85)`` rows of ``cx, cy, w, h, objectness, classes`` on strides 8, 16 and 32, the pose
network SimCC vectors with two bins per pixel. They know procedural figures and nothing else.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DETECTOR_SIZE = 160
POSE_HEIGHT, POSE_WIDTH = 192, 144
STRIDES = (8, 16, 32)
CLASSES = 80
KEYPOINTS = 133
TARGET_SIGMA = 4.0
"""Width of the trained SimCC peak, bins (half pixels of the crop)."""
_PEAK = 1 / (TARGET_SIGMA * (2 * torch.pi) ** 0.5)
_SHARPNESS = 2.0


class ConvUnit(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Residual(nn.Module):
    """One convolution beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unit = ConvUnit(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape."""
        out: Tensor = x + self.unit(x)
        return out


class Pyramid(nn.Module):
    """Features at strides 8, 16 and 32, each with the context of the coarser ones.

    Args:
        widths: Channels at strides 2, 4, 8, 16 and 32.
        depth: Residual units at strides 8, 16 and 32.
        out: Channels of the returned features.
    """

    def __init__(self, widths: tuple[int, ...], *, depth: int, out: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvUnit(3, widths[0], stride=2), ConvUnit(widths[0], widths[1], stride=2)
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                ConvUnit(inputs, outputs, stride=2), *(Residual(outputs) for _ in range(depth))
            )
            for inputs, outputs in pairwise(widths[1:])
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, out, 1) for width in widths[2:])

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c ..."]]:
        """Finest level first; sides of the image are multiples of 32, or of 16 for two levels."""
        features, x = [], self.stem(image)
        for stage in self.down:
            x = stage(x)
            features.append(x)
        merged = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            height, width = merged[level].shape[-2:]
            coarse = F.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
            merged[level] = F.relu(merged[level] + coarse[..., :height, :width])
        return merged


class TinyDetector(nn.Module):
    """Finds figures; input RGB 0..255, output as YOLOX."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid((8, 16, 32, 48, 64), depth=1, out=32)
        self.tower = ConvUnit(32, 32)
        self.head = nn.Conv2d(32, 6, 1)
        nn.init.constant_(self.head.bias[4:5], -4.0)  # type: ignore[index]

    def raw(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n 6"]:
        """``cx, cy`` and ``w, h`` as YOLOX codes them; objectness and person score as logits."""
        levels = self.pyramid((image - 114.0) / 64.0)
        rows = [self.head(self.tower(level)).flatten(2) for level in levels]
        return torch.cat(rows, dim=2).transpose(1, 2)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n 85"]:
        """Rows of 85; only class 0, person, is ever found."""
        rows = self.raw(image)
        scores = rows[..., 4:].sigmoid()
        return F.pad(torch.cat([rows[..., :4], scores], dim=-1), (0, CLASSES - 1))


class TinyPose(nn.Module):
    """Finds 133 keypoints in a person crop; input normalised RGB, output SimCC vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid((16, 24, 40, 56, 80), depth=2, out=48)
        self.tower = nn.Sequential(ConvUnit(48, 48), nn.Conv2d(48, KEYPOINTS, 1))
        rows, columns = POSE_HEIGHT // 8, POSE_WIDTH // 8
        self.to_x = nn.Linear(rows * columns, 2 * POSE_WIDTH)
        self.to_y = nn.Linear(rows * columns, 2 * POSE_HEIGHT)
        _start_as_marginals(self.to_x, self.to_y, rows, columns)

    def raw(
        self, crop: Float[Tensor, "b 3 192 144"]
    ) -> tuple[Float[Tensor, "b 133 288"], Float[Tensor, "b 133 384"]]:
        """Logits over the bins of x and y."""
        maps = self.tower(self.pyramid(crop)[0]).flatten(2)
        return self.to_x(maps), self.to_y(maps)

    def forward(
        self, crop: Float[Tensor, "b 3 192 144"]
    ) -> tuple[Float[Tensor, "b 133 288"], Float[Tensor, "b 133 384"]]:
        """Scores over the bins: 0.86 at a peak as narrow as trained, less where unsure."""
        x, y = self.raw(crop)
        return _score(x), _score(y)


def _score(logits: Tensor) -> Tensor:
    # Strictly increasing, so that the best bin stays the best, and below 1.
    return 1 - torch.exp(-_SHARPNESS / _PEAK * logits.softmax(dim=-1))


def _start_as_marginals(to_x: nn.Linear, to_y: nn.Linear, rows: int, columns: int) -> None:
    """Begin with bins that listen to the cells in line with them: saves most of the training."""
    cell_y, cell_x = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    for layer, cells, count in ((to_x, cell_x, columns), (to_y, cell_y, rows)):
        bins = (torch.arange(layer.out_features) + 0.5) / layer.out_features
        distance = (bins[:, None] - cells.flatten()[None]) * count
        with torch.no_grad():
            layer.weight.copy_(torch.exp(-0.5 * distance**2) * 0.25)
            layer.bias.zero_()
