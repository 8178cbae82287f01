"""Sizes of benchmarks: those of the figures, or the smallest that still run.

``make bench-smallest`` sets ``BENCH_SMALLEST``: each benchmark runs once, so that none rots.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
SMALLEST = bool(os.environ.get("BENCH_SMALLEST"))


def size(full: T, smallest: T) -> T:
    """One of the two."""
    return smallest if SMALLEST else full
