"""Judging whether guidance says anything."""

from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.training.judge import REFERENCE, compare


def test_differences_are_paired_and_relative_to_full() -> None:
    """What is the same in all variants of a clip widens no interval; worse is positive."""
    rng = np.random.default_rng(0)
    full = rng.uniform(0.1, 2.0, 64)
    errors = {
        REFERENCE: full,
        "worse": full + 0.02 * full.mean() + rng.normal(0, 1e-3, 64),
        "no different": full + rng.normal(0, 1e-3, 64),
    }
    found = compare(errors)
    assert found.keys() == {"worse", "no different"}
    assert found["worse"].mean == pytest.approx(2.0, abs=0.1)
    assert found["worse"].low > 1.5
    assert found["no different"].low < 0 < found["no different"].high
