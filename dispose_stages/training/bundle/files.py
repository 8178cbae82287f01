"""How the files of a bundle are written: the same bytes for equal content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dispose_stages.atomic import readable_json, write_bytes, write_text


def save_json(path: Path, content: Any) -> None:
    """A configuration file."""
    write_text(path, readable_json(content))


def save_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """A safetensors file."""
    write_bytes(path, safetensors.torch.save(dict(state), metadata={"format": "pt"}))


def save_pickle(path: Path, content: Any) -> None:
    """A checkpoint as PyTorch pickles it, which writes the file's own name into it.

    Hence no temporary name: a bundle that is not whole lacks its marker.
    """
    torch.save(content, path)


def training_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What CMP's publisher left: step, state dict with ``module.`` prefixes, optimizer."""
    prefixed = OrderedDict((f"module.{key}", value) for key, value in state.items())
    return {"step": 0, "state_dict": prefixed, "optimizer": {}}
