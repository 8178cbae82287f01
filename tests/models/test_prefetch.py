from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dispose_stages.models.prefetch import prefetch


def test_order_is_kept_and_the_next_item_is_under_way() -> None:
    """While an item is in use, the next one, and no other, has been computed elsewhere."""
    computed = [threading.Event() for _ in range(5)]
    threads = set()

    def source() -> Iterator[int]:
        for index, event in enumerate(computed):
            threads.add(threading.get_ident())
            event.set()
            yield index

    for position, item in enumerate(prefetch(source(), 1)):
        assert item == position
        if position < 3:
            assert computed[position + 1].wait(5)
            assert not computed[position + 2].is_set()
    assert position == 4
    assert threading.get_ident() not in threads


def test_errors_come_in_their_place() -> None:
    """Items before an error are used; then the error is raised as it was."""

    def source() -> Iterator[int]:
        yield 1
        raise KeyError("inside")

    items = prefetch(source(), 1)
    assert next(items) == 1
    with pytest.raises(KeyError, match="inside"):
        next(items)


def test_closing_early_ends_the_thread() -> None:
    """Whoever stops reading leaves no thread behind."""
    before = threading.active_count()
    items = prefetch(iter(range(100)), 1)
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before
    assert list(prefetch(iter(()), 1)) == []
