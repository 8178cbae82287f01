"""Pickled checkpoints, read without running what is in them."""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch

from dispose_stages.errors import WeightsError

# What PyTorch's unpickler raises on bytes that are no checkpoint (found by trying thousands).
_DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)


def read_pickle(path: Path) -> Any:
    """Content of a ``.pth``, ``.pth.tar`` or ``.bin`` file, tensors and plain containers only.

    Files in PyTorch's zip format are mapped into memory instead of read.

    Raises:
        WeightsError: The file is not there, is damaged, or holds anything that could run code.
    """
    try:
        with path.open("rb") as file:
            mapped = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            # Of unusual pickle protocols, which either load or end below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except _DAMAGED:
        # PyTorch's own message tells how to have the file's code run; nobody is to read that.
        raise WeightsError(
            f"{path}: is damaged, or holds more than tensors and plain values, which could run "
            "code; nothing of it was run. Get it again from its publisher (`dispose weights list`)"
        ) from None
