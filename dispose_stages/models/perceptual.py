"""LPIPS (Zhang et al., 2018): distance of deep features, weighted by learnt linear heads.

Backbones are plain stacks of convolutions under the names of their published files
(``features.0.weight`` ...); the heads are those that torchmetrics ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-8
_POOL = "pool"
Conv = tuple[int, int, int, int]
"""Output channels, kernel, stride, padding."""


@dataclass(frozen=True, slots=True)
class _Backbone:
    """Layers in order (a convolution brings its rectifier), and after which ones features count."""

    layers: Sequence[Conv | str]
    pool: tuple[int, int]
    taps: Sequence[int]
    channels: Sequence[int]


def _vgg(*widths: Sequence[int]) -> list[Conv | str]:
    layers: list[Conv | str] = []
    for block in widths:
        layers += [(width, 3, 1, 1) for width in block] + [_POOL]
    return layers


_BACKBONES: Mapping[str, _Backbone] = {
    "vgg": _Backbone(
        layers=_vgg([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3)[:-1],
        pool=(2, 2),
        taps=(3, 8, 15, 22, 29),
        channels=(64, 128, 256, 512, 512),
    ),
    "alex": _Backbone(
        layers=[
            (64, 11, 4, 2),
            _POOL,
            (192, 5, 1, 2),
            _POOL,
            (384, 3, 1, 1),
            (256, 3, 1, 1),
            (256, 3, 1, 1),
        ],
        pool=(3, 2),
        taps=(1, 4, 7, 9, 11),
        channels=(64, 192, 384, 256, 256),
    ),
}


class _Lins(nn.Module):
    """The heads' own naming: ``lin0.model.1.weight`` and so on."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for index, width in enumerate(channels):
            head = nn.Module()
            head.add_module("model", nn.ModuleDict({"1": nn.Conv2d(width, 1, 1, bias=False)}))
            self.add_module(f"lin{index}", head)

    def weights(self) -> list[Tensor]:
        return list(self.parameters())


class Lpips(nn.Module):
    """The distance.

    Args:
        backbone: ``vgg`` or ``alex``.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self._taps = frozenset(_BACKBONES[backbone].taps)
        self.features = _stack(_BACKBONES[backbone])
        self.heads = _Lins(_BACKBONES[backbone].channels)

    def forward(
        self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b"]:
        """Distance of each image of `a` to that of `b`; RGB in [-1, 1]."""
        total = a.new_zeros(len(a))
        features = self._levels(torch.cat([a, b]))
        for level, weight in zip(features, self.heads.weights(), strict=True):
            unit = level / torch.sqrt(_EPSILON + (level**2).sum(dim=1, keepdim=True))
            first, second = unit.chunk(2)
            weighted = ((first - second) ** 2 * weight).sum(dim=1)
            total = total + weighted.mean(dim=(1, 2))
        return total

    def _levels(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        shift, scale = (images.new_tensor(v)[None, :, None, None] for v in (_SHIFT, _SCALE))
        values, levels = (images - shift) / scale, []
        for index, layer in enumerate(self.features):
            values = layer(values)
            if index in self._taps:
                levels.append(values)
        return levels


def _stack(backbone: _Backbone) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for layer in backbone.layers:
        if isinstance(layer, str):
            layers.append(nn.MaxPool2d(*backbone.pool))
            continue
        width, kernel, stride, padding = layer
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)
