"""What a clip's steps cost on the full-width networks, counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from dispose_stages.sample.shortcuts import StepKind
from tests.bench.traffic.__main__ import ideal_seconds
from tests.bench.traffic.fusion import fused
from tests.bench.traffic.steps import FULL, Size, count


@dataclass(frozen=True, slots=True)
class Cost:
    """Of some steps.

    Attributes:
        flop: Floating point operations.
        seconds: Every kernel at an H100's peak rate or bandwidth, fused by rule.
    """

    flop: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flop + other.flop, self.seconds + other.seconds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.flop - other.flop, self.seconds - other.seconds)


@cache
def _counted(size: Size, *kinds: StepKind) -> Cost:
    trace = fused(count(size, kinds=kinds))
    return Cost(trace.totals()["flop"], ideal_seconds(trace, "H100"))


def step_cost(kind: StepKind, size: Size = FULL) -> Cost:
    """A tile-step of that kind; one that is not whole is what it adds to the step before."""
    if kind.whole:
        return _counted(size, kind)
    whole = replace(kind, whole=True, leaves=True)
    return _counted(size, whole, kind) - _counted(size, whole)


def clip_cost(kinds: Iterable[StepKind], size: Size = FULL) -> Cost:
    """All steps of a tile."""
    return sum((step_cost(kind, size) for kind in kinds), Cost())
