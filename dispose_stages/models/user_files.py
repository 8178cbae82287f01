"""Weights that users bring for metrics: files of others' networks, loaded strictly and safely."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import fit_problems, open_weights, parameter_shapes, read_into


def fill(
    network: nn.Module,
    path: Path,
    *,
    prefix: str = "",
    ignored: tuple[str, ...] = (),
    device: torch.device | str,
) -> None:
    """Fill a network on the meta device in float32, and freeze it.

    Args:
        network: Whose parameters become the file's tensors.
        path: A pickle of tensors or a ``.safetensors`` file.
        prefix: Of the network's keys in the file.
        ignored: Prefixes of what the file holds besides. Counters of batch normalisation, which
            old files lack, are made up.
        device: Of all parameters.

    Raises:
        WeightsError: The file is missing, unsafe or does not fit.
    """
    file = open_weights(path)
    found = {key: shape for key, shape in file.shapes.items() if not key.startswith(ignored)}
    expected = parameter_shapes(network, prefix)
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    if problems := fit_problems(expected, found, optional=counters):
        raise WeightsError(f"{path}: is not the file this metric needs: " + "; ".join(problems))
    zero = torch.zeros((), dtype=torch.long, device=device)
    others = {key.removeprefix(prefix): zero for key in counters if key not in found}
    read_into(network, file, prefix=prefix, dtype=torch.float32, device=device, others=others)
