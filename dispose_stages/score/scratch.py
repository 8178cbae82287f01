"""Memory that is used again, because fresh pages cost as much as what is computed in them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np


class Scratch(threading.local):
    """Arrays by name, each thread's own; what they hold is overwritten by the next use."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: Sequence[int], dtype: type = np.float32) -> np.ndarray:
        """An array of that shape with whatever it holds."""
        found = self._arrays.get(name)
        if found is None or found.shape != tuple(shape) or found.dtype != dtype:
            found = self._arrays[name] = np.empty(shape, dtype)
        return found
