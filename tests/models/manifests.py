"""Recorded keys and shapes of the published checkpoints, where they are, and files with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

_ROOTS = (
    Path(__file__).parents[1] / "parity" / "golden",
    Path(__file__).parents[3] / "shared" / "golden",
)


def manifest(name: str) -> dict[str, Any]:
    """A recorded manifest; the test is skipped where there is none."""
    for root in _ROOTS:
        path = root / "manifests" / f"{name}.json"
        if path.exists():
            return dict(json.loads(path.read_text()))
    pytest.skip(f"no recording of {name} here")


def hollow_state(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of the recorded shapes that take no memory and, saved, hardly any disk.

    One element each, repeated with stride 0, numbered so that mistaken keys show.
    """
    tensors = manifest(name)["tensors"]
    return {
        key: torch.full((1,), index % 97, dtype=dtype).expand(shape)
        for index, (key, (shape, _)) in enumerate(tensors.items())
    }
