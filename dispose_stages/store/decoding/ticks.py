"""Signs of life of the decoder process, between one frame and the next."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.25

_listeners: list[Callable[[], None]] = []
_last = [0.0]


def listen(listener: Callable[[], None]) -> None:
    """Have `listener` called whenever something was decoded, a few times per second."""
    _listeners.append(listener)


def tick() -> None:
    """Something was decoded."""
    now = time.monotonic()
    if now - _last[0] >= INTERVAL_SECONDS:
        _last[0] = now
        for listener in _listeners:
            listener()
