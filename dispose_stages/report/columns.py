"""What pairs can be found and sorted by: one column per property, however many pairs there are.

Numbers are kept as machine numbers and texts as codes, so that a hundred thousand pairs take
megabytes. Each column is a file of its own, which the page loads when somebody asks for it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Group = Literal["pair", "score", "fact", "parameter", "manifest"]
_DIGITS = 6


def rounded(value: float) -> float | None:
    """As many digits as somebody reads; None for what is no number."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


@dataclass(slots=True)
class NumberColumn:
    """Numbers, nan where there is none."""

    name: str
    group: Group
    values: array[float] = field(default_factory=lambda: array("d"))

    def append(self, value: Any) -> None:
        """Add a row's number."""
        self.values.append(float(value))

    def pad(self, rows: int) -> None:
        """Fill up with rows that have none."""
        if len(self.values) < rows:
            self.values.extend([math.nan] * (rows - len(self.values)))

    def data(self) -> list[float | None]:
        """For the page."""
        return [rounded(value) for value in self.values]


@dataclass(slots=True)
class TextColumn:
    """Texts, empty where there is none."""

    name: str
    group: Group
    codes: array[int] = field(default_factory=lambda: array("l"))
    words: dict[str, int] = field(default_factory=dict)

    def append(self, value: Any) -> None:
        """Add a row's text."""
        self.codes.append(self.words.setdefault(str(value), len(self.words)))

    def pad(self, rows: int) -> None:
        """Fill up with rows that have none."""
        if len(self.codes) < rows:
            empty = self.words.setdefault("", len(self.words))
            self.codes.extend([empty] * (rows - len(self.codes)))

    def data(self) -> list[list[Any]]:
        """For the page: every text once, and which one each row has."""
        return [list(self.words), list(self.codes)]


Column = NumberColumn | TextColumn


class Table:
    """All columns; one that first shows up in a later row is empty in those before.

    Attributes:
        columns: By name, folded; names keep their spelling in the column.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, Column] = {}
        self._known: dict[tuple[Group, str], Column] = {}

    def append(self, cells: Mapping[tuple[Group, str], str | float]) -> None:
        """Add a pair.

        Args:
            cells: By group and name; a name that another group has gets its group's as a prefix.
        """
        for cell, value in cells.items():
            column = self._known.get(cell) or self._new(*cell, value)
            column.pad(self.rows)
            column.append(value)
        self.rows += 1

    def _new(self, group: Group, name: str, value: str | float) -> Column:
        free = name
        while free.casefold() in self.columns:
            free = f"{group}_{free}"
        kind = TextColumn if isinstance(value, str) else NumberColumn
        self.columns[free.casefold()] = column = kind(free, group)
        self._known[group, name] = column
        return column

    def finish(self) -> None:
        """Make all columns as long as the table; drop parameters that never differ."""
        for key, column in list(self.columns.items()):
            column.pad(self.rows)
            same = isinstance(column, TextColumn) and len(column.words) == 1
            if column.group == "parameter" and same:
                del self.columns[key]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns.values())

    def numbers(self, group: Group) -> Iterator[NumberColumn]:
        """Columns of numbers of a group."""
        for column in self:
            if column.group == group and isinstance(column, NumberColumn):
                yield column

    def text(self, name: str) -> TextColumn:
        """A column of texts that every table with rows has."""
        column = self.columns[name]
        if not isinstance(column, TextColumn):
            raise TypeError(f"{name} holds numbers")
        return column
