"""Times and names for people."""

from __future__ import annotations

import time
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock_time(seconds: float, *, since: bool = False) -> str:
    """Time of day of a Unix time; with `since`, hours, minutes and seconds of a span."""
    if not since:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """``1 unit``, ``2 units``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def named(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:most]) or "no pair"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
