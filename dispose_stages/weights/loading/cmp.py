"""The published checkpoint of conditional motion propagation."""

from __future__ import annotations

from pathlib import Path

import torch

from dispose_stages.models.cmp import CmpNetwork, CmpWidths
from dispose_stages.weights.files import open_weights
from dispose_stages.weights.fitting import fill, unfilled


def load_cmp(path: Path, *, device: torch.device | str) -> CmpNetwork:
    """Load ``ckpt_iter_42000.pth.tar``; the optimizer's state in it is ignored.

    Raises:
        WeightsError: The file is missing, unsafe to read, or does not fit the network.
    """
    file = open_weights(path)
    shapes = {_own_name(key): shape for key, shape in file.shapes.items()}
    with unfilled():
        network = CmpNetwork(CmpWidths.from_shapes(shapes))
    fill(network, file, rename=_own_name, device=device, dtype=torch.float32)
    return network


def _own_name(key: str) -> str:
    return key.removeprefix("module.")
