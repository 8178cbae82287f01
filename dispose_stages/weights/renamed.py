"""Checkpoints whose keys are not quite the network's: renamed, strictly checked, allocated once."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import nn

from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import WeightFile, fit_problems, parameter_shapes


def load_renamed(
    network: nn.Module,
    file: WeightFile,
    *,
    rename: Callable[[str], str],
    others: Collection[str] = (),
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Give a network on the meta device the tensors of a file; every key and shape has to fit.

    Args:
        network: Whose parameters become the file's tensors.
        file: Only what the network needs of it is kept.
        rename: Key in the file to key in the network.
        others: Network keys that the file may hold although this network does without them.
        device: Of all parameters.
        dtype: Of floating-point parameters.

    Raises:
        WeightsError: Names all that does not fit.
    """
    expected = parameter_shapes(network)
    found = {rename(key): shape for key, shape in file.shapes.items()}
    unneeded = found.keys() & set(others) - expected.keys()
    # Files of old torch versions do not count batches, and inference does not read the count.
    counters = {key for key in expected if key.endswith(".num_batches_tracked")}
    problems = fit_problems(
        expected, {k: s for k, s in found.items() if k not in unneeded}, optional=counters
    )
    if problems:
        raise WeightsError(f"{file.path} does not fit: {'; '.join(problems)}")
    state = {key: torch.zeros((), dtype=torch.int64, device=device) for key in counters}
    for key, value in file.tensors({key for key in file.shapes if rename(key) in expected}):
        kind = dtype if value.is_floating_point() else None
        state[rename(key)] = value.to(device, kind)
    network.load_state_dict(state, strict=True, assign=True)
    network.requires_grad_(requires_grad=False).eval()
