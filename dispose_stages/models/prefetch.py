"""Run an iterator ahead in a thread, at most a few items."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
_END: Final = object()


def prefetch(source: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Yield the items of `source`, which runs in a thread at most `depth` items ahead.

    Errors of `source` are raised here, with their traceback. Closing the iterator stops the
    thread and closes `source`. Modes of a thread (such as ``torch.inference_mode``) must be entered
    by `source` itself.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        ahead = deque(thread.submit(next, source, _END) for _ in range(depth))
        try:
            while True:
                ahead.append(thread.submit(next, source, _END))
                item = ahead.popleft().result()
                if item is _END:
                    return
                yield item  # type: ignore[misc]
        finally:
            for future in ahead:
                future.cancel()
            # A generator must be closed by the thread that runs it.
            thread.submit(getattr(source, "close", lambda: None)).result()
