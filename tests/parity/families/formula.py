"""Reference values of the weight formula that every network of the recordings is filled by."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from tests.parity.case import Case, Check, Family, formula_tensor, max_abs


def replay_formula(case: Case) -> Iterator[Check]:
    """Seed, first values and sum of some tensors."""
    for name, expected in case.json.items():
        salt, key = name.split("|", maxsplit=1)
        tensor = formula_tensor(key, expected["shape"], salt=salt).ravel()
        first = np.asarray(expected["first"], dtype=np.float32)
        yield Check(f"{key} seed", float(zlib.crc32(name.encode()) != expected["seed"]), 0)
        yield Check(f"{key} first", max_abs(tensor[: len(first)], first), 0)
        total = float(tensor.sum(dtype=np.float64))
        yield Check(f"{key} sum", abs(total - expected["sum"]), 1e-4)


FAMILIES = [Family("weight_formula_check*", replay_formula)]
