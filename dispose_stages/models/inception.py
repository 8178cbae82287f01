"""Inception-v3 as FID takes it: 2048 pooled features of a 299 x 299 image (Heusel et al., 2017).

Names are those of the file that pytorch-fid published, which are torchvision's. What differs from
the ordinary network: average pools leave out the padding, and the last block pools by maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SIDE = 299
Kernel = int | tuple[int, int]
Conv = tuple[str, int, Kernel, int]
"""Name, output channels, kernel, stride; padded to keep the size unless it strides."""
Chain = Sequence[Conv | tuple[Conv, Conv]]
"""Convolutions one after another; a pair at the end runs side by side."""
Pool = Callable[[Tensor], Tensor]

_average: Pool = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum: Pool = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_halve: Pool = partial(F.max_pool2d, kernel_size=3, stride=2)


class _BasicConv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, *, same: bool = True
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, values: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(values)), inplace=True)


class _Mixed(nn.Module):
    """Chains side by side, and a pool with or without a convolution; joined by channel."""

    def __init__(self, inputs: int, chains: Sequence[Chain], pool: Pool, pool_width: int) -> None:
        super().__init__()
        self._chains = [[_names(step) for step in chain] for chain in chains]
        self._pool = pool
        for chain in chains:
            width = inputs
            for step in chain:
                convs: Sequence[Conv] = [step] if isinstance(step[0], str) else step
                for name, outputs, kernel, stride in convs:
                    self.add_module(name, _BasicConv(width, outputs, kernel, stride))
                width = convs[0][1]
        if pool_width:
            self.branch_pool = _BasicConv(inputs, pool_width, 1)
        self._convolves_pool = bool(pool_width)

    def forward(self, values: Tensor) -> Tensor:
        branches = [self._run(chain, values) for chain in self._chains]
        pooled = self._pool(values)
        branches.append(self.branch_pool(pooled) if self._convolves_pool else pooled)
        return torch.cat(branches, dim=1)

    def _run(self, chain: Sequence[Sequence[str]], values: Tensor) -> Tensor:
        for names in chain:
            values = torch.cat([self.get_submodule(name)(values) for name in names], dim=1)
        return values


def _names(step: Conv | tuple[Conv, Conv]) -> list[str]:
    if isinstance(step[0], str):
        return [step[0]]
    return [str(conv[0]) for conv in step]


_ROW, _COLUMN = (1, 7), (7, 1)


def _block_a(inputs: int, pool_width: int) -> _Mixed:
    chains: list[Chain] = [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)],
        [
            ("branch3x3dbl_1", 64, 1, 1),
            ("branch3x3dbl_2", 96, 3, 1),
            ("branch3x3dbl_3", 96, 3, 1),
        ],
    ]
    return _Mixed(inputs, chains, _average, pool_width)


def _block_b(inputs: int) -> _Mixed:
    chains: list[Chain] = [
        [("branch3x3", 384, 3, 2)],
        [
            ("branch3x3dbl_1", 64, 1, 1),
            ("branch3x3dbl_2", 96, 3, 1),
            ("branch3x3dbl_3", 96, 3, 2),
        ],
    ]
    return _Mixed(inputs, chains, _halve, 0)


def _block_c(width: int) -> _Mixed:
    chains: list[Chain] = [
        [("branch1x1", 192, 1, 1)],
        [
            ("branch7x7_1", width, 1, 1),
            ("branch7x7_2", width, _ROW, 1),
            ("branch7x7_3", 192, _COLUMN, 1),
        ],
        [
            ("branch7x7dbl_1", width, 1, 1),
            ("branch7x7dbl_2", width, _COLUMN, 1),
            ("branch7x7dbl_3", width, _ROW, 1),
            ("branch7x7dbl_4", width, _COLUMN, 1),
            ("branch7x7dbl_5", 192, _ROW, 1),
        ],
    ]
    return _Mixed(768, chains, _average, 192)


def _block_d() -> _Mixed:
    chains: list[Chain] = [
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1, 1),
            ("branch7x7x3_2", 192, _ROW, 1),
            ("branch7x7x3_3", 192, _COLUMN, 1),
            ("branch7x7x3_4", 192, 3, 2),
        ],
    ]
    return _Mixed(768, chains, _halve, 0)


def _block_e(inputs: int, pool: Pool) -> _Mixed:
    chains: list[Chain] = [
        [("branch1x1", 320, 1, 1)],
        [
            ("branch3x3_1", 384, 1, 1),
            (("branch3x3_2a", 384, (1, 3), 1), ("branch3x3_2b", 384, (3, 1), 1)),
        ],
        [
            ("branch3x3dbl_1", 448, 1, 1),
            ("branch3x3dbl_2", 384, 3, 1),
            (("branch3x3dbl_3a", 384, (1, 3), 1), ("branch3x3dbl_3b", 384, (3, 1), 1)),
        ],
    ]
    return _Mixed(inputs, chains, pool, 192)


class Inception(nn.Module):
    """Image to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _BasicConv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _BasicConv(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = _BasicConv(32, 64, 3)
        self.Conv2d_3b_1x1 = _BasicConv(64, 80, 1)
        self.Conv2d_4a_3x3 = _BasicConv(80, 192, 3, same=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(128)
        self.Mixed_6c = _block_c(160)
        self.Mixed_6d = _block_c(160)
        self.Mixed_6e = _block_c(192)
        self.Mixed_7a = _block_d()
        self.Mixed_7b = _block_e(1280, _average)
        self.Mixed_7c = _block_e(2048, _maximum)

    def forward(self, images: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        """Features of RGB images in [-1, 1]."""
        stem = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        stem = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halve(stem)))
        values = _halve(stem)
        for name, block in self.named_children():
            if name.startswith("Mixed_"):
                values = block(values)
        return values.mean(dim=(2, 3))
