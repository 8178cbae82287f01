"""Which shard a unit goes to, and how many shards there are."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

ROUTE_BITS = 64
"""Length of the number that decides a unit's shard."""

DEEPEST = 20
"""Bits by which routes are told apart at most."""
_SMALL_REST = 0.25
"""Share of a job's aimed time that is not worth a job of its own beside one long unit."""

Prefix = tuple[int, int]
"""Number of leading bits, and their value."""


def shard_name(route: int, count: int) -> str:
    """Shard of a route: the leading bits decide, so that splitting shards nests."""
    bits = count.bit_length() - 1
    return _shard_name(route >> (ROUTE_BITS - bits) if bits else 0, count)


@lru_cache(4096)
def _shard_name(index: int, count: int) -> str:
    return f"{index:0{len(str(count))}d}-of-{count}"


def shard_count(units: int, seconds_per_unit: float, minutes: float, maximum: int) -> int:
    """Smallest power of two that keeps a job within `minutes`, at most `maximum` and `units`."""
    wanted = units * seconds_per_unit / (minutes * 60)
    limit = max(1, min(maximum, units))
    exponent = min(math.ceil(math.log2(max(wanted, 1.0))), int(math.log2(limit)))
    return 1 << exponent


def settle_shard_count(wanted: int, previous: int | None) -> int:
    """Keep the previous count unless it is off by more than a factor of two.

    A changed count renames every shard, so a run that grows row by row should not do it each time
    it crosses a power of two.
    """
    if previous and previous & (previous - 1) == 0 and wanted / 2 <= previous <= wanted * 2:
        return previous
    return wanted


def prefix_name(prefix: Prefix) -> str:
    """Name of the shard of all routes that begin so."""
    bits, value = prefix
    return shard_name(value << (ROUTE_BITS - bits), 1 << bits)


def prefix_of(name: str) -> Prefix:
    """The beginning of the routes of a shard of that name."""
    index, _, count = name.partition("-of-")
    return int(count).bit_length() - 1, int(index)


def shard_among(route: int, parts: Collection[Prefix]) -> str:
    """Shard of a route where the shards are those that `cut` made."""
    for bits in range(DEEPEST + 1):
        if (prefix := (bits, route >> (ROUTE_BITS - bits))) in parts:
            return prefix_name(prefix)
    raise LookupError(f"no shard holds the route {route}")


def cut(
    costs: Sequence[tuple[int, float]],
    seconds: float,
    maximum: int,
    former: Collection[Prefix] = (),
) -> frozenset[Prefix]:
    """Cut the routes into parts that each take a job's time, halving what takes longer.

    A part depends on the units in it alone, so that a unit more or less changes one shard, or
    halves or joins one. Like shards of equal number, parts of two stages lie inside one another.

    Args:
        costs: Route and seconds of every unit.
        seconds: That a job should take at most; a single unit may take longer.
        maximum: Number of parts. Where more would be needed, jobs take longer.
        former: Parts that are not joined again.

    Returns:
        Beginnings of routes; every unit's route has exactly one of them.
    """
    ordered = sorted(costs)
    above = {(b, v >> (bits - b)) for bits, v in former for b in range(bits)}
    while True:
        parts = frozenset(_halved(ordered, (0, 0), seconds, above))
        if len(parts) <= max(1, maximum, len(former)):
            return parts
        seconds *= 1.25


def _halved(
    costs: Sequence[tuple[int, float]], prefix: Prefix, seconds: float, above: Collection[Prefix]
) -> Iterator[Prefix]:
    if not costs:
        return
    bits, value = prefix
    if prefix not in above and (bits == DEEPEST or _is_short([c for _, c in costs], seconds)):
        yield prefix
        return
    middle = bisect_left(costs, ((2 * value + 1) << (ROUTE_BITS - bits - 1), -math.inf))
    yield from _halved(costs[:middle], (bits + 1, 2 * value), seconds, above)
    yield from _halved(costs[middle:], (bits + 1, 2 * value + 1), seconds, above)


def _is_short(costs: Sequence[float], seconds: float) -> bool:
    """Whether a job of these units is short, or would not become so by being halved."""
    total = math.fsum(costs)
    return total <= seconds or total - max(costs) <= _SMALL_REST * seconds
