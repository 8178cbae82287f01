"""Which shard a unit goes to, and how many shards there are."""

from __future__ import annotations

import math

ROUTE_BITS = 64
"""Length of the number that decides a unit's shard."""


def shard_name(route: int, count: int) -> str:
    """Shard of a route: the leading bits decide, so that splitting shards nests."""
    bits = count.bit_length() - 1
    index = route >> (ROUTE_BITS - bits) if bits else 0
    width = len(str(count))
    return f"{index:0{width}d}-of-{count}"


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
