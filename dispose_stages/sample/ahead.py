"""One clip is opened while another is denoised."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Unit = TypeVar("Unit")


class ReadAhead(Generic[Unit]):
    """Opens at most one unit in advance, in a thread of its own.

    Args:
        read: Opens a unit.
        state: Of what it is opened from; another one means that it has changed.
    """

    def __init__(
        self, read: Callable[[Unit], dict[str, Any]], state: Callable[[Unit], object]
    ) -> None:
        self._read, self._state = read, state
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._expected: tuple[Unit, object, Future[dict[str, Any]]] | None = None

    def begin(self, unit: Unit) -> None:
        """Open this one; what was opened before and not taken is dropped."""
        if self._expected is None or self._expected[0] != unit:
            self._expected = unit, self._state(unit), self._thread.submit(self._read, unit)

    def take(self, unit: Unit) -> dict[str, Any]:
        """What `read` makes of a unit.

        It is read anew where another was opened, a source has changed since, or opening it failed:
        errors are those of now.
        """
        expected, self._expected = self._expected, None
        if expected is not None:
            known, state, opened = expected
            if known == unit and state == self._state(unit) and opened.exception() is None:
                return opened.result()
        return self._read(unit)
