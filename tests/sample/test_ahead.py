from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dispose_stages.batch.unit import Unit
from dispose_stages.errors import Reason, UnitError
from dispose_stages.sample.ahead import ReadAhead
from tests.toy_run import ready


class Reader:
    """Notes what is read, and by which thread."""

    def __init__(self) -> None:
        self.read: list[tuple[str, bool]] = []
        self.failing = False

    def __call__(self, unit: Unit) -> dict[str, Any]:
        self.read.append((unit.key, threading.current_thread() is threading.main_thread()))
        if self.failing:
            raise UnitError(Reason.MEDIA_MISSING, "gone")
        return {"key": unit.key}


@pytest.fixture
def units(tmp_path: Path) -> tuple[Unit, Unit]:
    source = tmp_path / "image.png"
    source.write_bytes(b"1")
    return ready("sample", "a", {}, {"image": source}), ready("sample", "b", {}, {"image": source})


def test_what_was_expected_is_read_once_in_another_thread(units: tuple[Unit, Unit]) -> None:
    """Also where it is announced twice; afterwards it is read anew."""
    reader, (first, _) = Reader(), units
    ahead = ReadAhead(reader, lambda unit: unit.source("image").read_bytes())
    ahead.begin(first)
    ahead.begin(first)
    assert ahead.take(first) == {"key": "a"}
    assert reader.read == [("a", False)]
    assert ahead.take(first) == {"key": "a"}
    assert reader.read == [("a", False), ("a", True)]


def test_another_unit_and_a_changed_source_are_read_anew(units: tuple[Unit, Unit]) -> None:
    """What was opened in advance is not what is asked for."""
    reader, (first, second) = Reader(), units
    ahead = ReadAhead(reader, lambda unit: unit.source("image").read_bytes())
    ahead.begin(first)
    assert ahead.take(second) == {"key": "b"}
    ahead.begin(first)
    first.source("image").write_bytes(b"another")
    ahead.take(first)
    assert reader.read[-1] == ("a", True)


def test_an_error_is_raised_when_it_is_the_units_turn(units: tuple[Unit, Unit]) -> None:
    """Not in advance; and not where it has gone by then."""
    reader, (first, _) = Reader(), units
    ahead = ReadAhead(reader, lambda unit: unit.source("image").read_bytes())
    reader.failing = True
    ahead.begin(first)
    with pytest.raises(UnitError, match="gone"):
        ahead.take(first)
    ahead.begin(first)
    while len(reader.read) < 3:
        pass
    reader.failing = False
    assert ahead.take(first) == {"key": "a"}
