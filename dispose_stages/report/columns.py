"""What pairs can be found and sorted by: one column per property, however many pairs there are.

Numbers are kept as machine numbers and texts as codes, so that a hundred thousand pairs take
megabytes. Each column is a file of its own, which the page loads when somebody asks for it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

Group = Literal["pair", "score", "fact", "parameter", "manifest"]
_DIGITS = 6


def rounded(value: float) -> float | None:
    """As many digits as somebody reads; None for what is no number."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


class Column:
    """A property of the pairs: a machine number per row."""

    kind: ClassVar[Literal["d", "l"]]

    def __init__(self, name: str, group: Group) -> None:
        self.name = name
        self.group = group
        self.cells: array[Any] = array(self.kind)

    def append(self, value: str | float | None) -> None:
        """Add a row's cell; None: it has none."""
        raise NotImplementedError

    def data(self) -> list[Any]:
        """For the page."""
        raise NotImplementedError

    def pad(self, rows: int) -> None:
        """Fill up with rows that have none."""
        if len(self.cells) < rows:
            self.append(None)
            self.cells.extend([self.cells[-1]] * (rows - len(self.cells)))


class NumberColumn(Column):
    """Numbers, nan where there is none."""

    kind = "d"

    def append(self, value: str | float | None) -> None:
        """Add a number."""
        self.cells.append(math.nan if value is None else float(value))

    def data(self) -> list[Any]:
        """Every row's number, or none."""
        return [rounded(value) for value in self.cells]


class TextColumn(Column):
    """Texts, empty where there is none."""

    kind = "l"

    def __init__(self, name: str, group: Group) -> None:
        super().__init__(name, group)
        self.words: dict[str, int] = {}

    def append(self, value: str | float | None) -> None:
        """Add a text."""
        text = "" if value is None else str(value)
        self.cells.append(self.words.setdefault(text, len(self.words)))

    def data(self) -> list[Any]:
        """Every text once, and which one each row has."""
        return [list(self.words), list(self.cells)]


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
        column = self.columns[free.casefold()] = kind(free, group)
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
