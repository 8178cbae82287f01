"""Compute the next item while the current one is being used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(source: Iterator[T]) -> Iterator[T]:
    """Items of `source`, each computed in another thread while its predecessor is in use.

    At most two items are alive. An error of `source` is raised where its item would have come;
    closing this iterator early waits for the item under way and leaves the rest uncomputed.
    Thread-local modes (such as ``torch.inference_mode``) must be entered by `source` itself.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        upcoming = pool.submit(next, source, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, source, None)
            yield item
