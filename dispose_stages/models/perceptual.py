"""LPIPS (Zhang et al., 2018): distance of deep features, weighted by learnt linear heads.

Backbones are plain stacks of convolutions under the names of their published files
(``features.0.weight`` ...); the heads are those that torchmetrics ships.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-8
Conv = tuple[int, int, int, int]
"""Output channels, kernel, stride, padding."""
Pool = tuple[int, int]
"""Kernel, stride."""


def _vgg(*widths: Sequence[int]) -> list[Conv | Pool]:
    layers: list[Conv | Pool] = []
    for block in widths:
        layers += [(width, 3, 1, 1) for width in block] + [(2, 2)]
    return layers


_LAYERS: Mapping[str, Sequence[Conv | Pool]] = {
    "vgg": _vgg([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3)[:-1],
    "alex": [
        (64, 11, 4, 2),
        (3, 2),
        (192, 5, 1, 2),
        (3, 2),
        (384, 3, 1, 1),
        (256, 3, 1, 1),
        (256, 3, 1, 1),
    ],
}
"""In order; a convolution brings its rectifier."""
_TAPS: Mapping[str, Sequence[int]] = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}
"""After which ones, rectifiers included, features count."""


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
        self._taps = _TAPS[backbone]
        self.features = _stack(_LAYERS[backbone])
        self.heads = _Lins(
            [
                layer.out_channels
                for index, layer in enumerate(self.features, start=1)
                if index in self._taps and isinstance(layer, nn.Conv2d)
            ]
        )

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


def _stack(layers: Iterable[Conv | Pool]) -> nn.Sequential:
    modules: list[nn.Module] = []
    channels = 3
    for layer in layers:
        if len(layer) == 2:
            modules.append(nn.MaxPool2d(*layer))
        else:
            width, kernel, stride, padding = layer
            modules += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
            channels = width
    return nn.Sequential(*modules)
