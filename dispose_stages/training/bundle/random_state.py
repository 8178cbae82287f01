"""Random parameters that are the same on every machine: NumPy's PCG64, one stream per tensor."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Gains = Mapping[str, float]


def random_state(
    network: nn.Module,
    *,
    seed: int,
    name: str,
    gains: Gains | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """A state dict for a network (which may be on the meta device), sorted by key.

    Weights keep the variance of their input; normalisations are near the identity.

    Args:
        network: Only names, shapes and kinds of its tensors count.
        name: Of the network; other names give other numbers.
        gains: Factor on weights and biases whose key begins so; the longest such beginning counts.
        dtype: Of floating-point tensors.
    """
    state = {}
    for key, value in sorted(network.state_dict().items()):
        if not value.is_floating_point():
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        values = _values(key, tuple(value.shape), seed=seed, name=name)
        state[key] = torch.from_numpy(values * _gain(key, gains or {})).to(dtype)
    return state


def _values(key: str, shape: tuple[int, ...], *, seed: int, name: str) -> np.ndarray:
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(f"{name}/{key}".encode())]))
    x = np.asarray(stream.standard_normal(shape))
    last = key.rsplit(".", 1)[-1]
    if "embedding" in key and last == "weight" and len(shape) == 2 and "linear" not in key:
        return 0.5 * x  # a table of vectors, not a map
    if len(shape) >= 2:
        return np.asarray(x / np.sqrt(np.prod(shape[1:])))
    if last == "weight":
        return 1 + 0.05 * x
    if last == "running_var":
        return 1 + 0.05 * np.abs(x)
    if last in {"bias", "running_mean"}:
        return 0.05 * x
    return 0.5 + 0.1 * x  # mixing factors, PoseNet's scale, CLIP's class embedding


def _gain(key: str, gains: Gains) -> float:
    fitting = [start for start in gains if key.startswith(start)]
    return gains[max(fitting, key=len)] if fitting else 1.0
