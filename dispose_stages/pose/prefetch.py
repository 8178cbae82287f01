"""Run an iterator ahead in a thread, at most a few items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class _Producer(Generic[T]):
    """A thread that fills a bounded queue and stops when nobody reads it any more."""

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self.queue: queue.Queue[_Item[T] | _End] = queue.Queue(maxsize=depth)
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def _put(self, entry: _Item[T] | _End) -> bool:
        while not self._stop.is_set():
            try:
                self.queue.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _run(self) -> None:
        try:
            for value in self._source:
                if not self._put(_Item(value)):
                    break
        except BaseException as error:  # noqa: BLE001 - raised again in the reading thread
            self._put(_End(error))
        else:
            self._put(_End(None))
        finally:
            # A generator must be closed by the thread that runs it.
            close = getattr(self._source, "close", None)
            if close is not None:
                close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def prefetch(source: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield the items of `source`, which runs in a thread at most `depth` items ahead.

    Errors of `source` are raised here, with their traceback. Closing the iterator stops the
    thread and closes `source`.
    """
    producer = _Producer(source, depth)
    producer.start()
    try:
        while True:
            entry = producer.queue.get()
            if isinstance(entry, _Item):
                yield entry.value
            elif entry.error is not None:
                raise entry.error
            else:
                return
    finally:
        producer.stop()
