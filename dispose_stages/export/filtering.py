"""Which pairs a filter expression selects.

The expression looks like Python and is never run as such: it is parsed, every part is checked
against the few kinds below, and Arrow does the comparisons. Absent values behave as in SQL: a
comparison with one is neither true nor false, and what is not true is not selected.

    and, or, not, ( )
    <  <=  >  >=  ==  !=            a column with a number, a text, True or False
    seed in (1, 2, 3)               a column among values
    "dance" in tags                 a text within a column
    "some_code" not in warnings     a text of a column of lists
    caption is None, is not None    absent, not absent
    column("source url") == "x"     a column whose name is no word
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dispose_stages.errors import ExportError
from dispose_stages.wording import did_you_mean

MAX_LENGTH = 10_000
_UNREADABLE = (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError)
"""What a text that is no filter, or one with numbers beyond all columns, ends in."""
_SHORT_FOR = ("", "score_", "parameter_")
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
_Truth = Any
"""A column of truth values."""


@dataclass(frozen=True, slots=True)
class _Operand:
    """A column or a constant.

    Attributes:
        said: As in the expression.
        value: The column, or the plain value.
        kind: ``number``, ``text``, ``list`` (of texts), ``truth`` or ``nothing``.
    """

    said: str
    value: Any
    kind: str

    @property
    def is_column(self) -> bool:
        return isinstance(self.value, pa.ChunkedArray)


def selected(expression: str, table: pa.Table) -> list[bool]:
    """Whether each record fits.

    Args:
        expression: See the module's description. ``pck`` stands for ``score_pck`` or
            ``parameter_pck`` where there is no column ``pck``.
        table: The index.

    Raises:
        ExportError: The expression cannot be used; says why and what columns there are.
    """
    if len(expression) > MAX_LENGTH:
        raise ExportError(f"the filter is longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return [value is True for value in _Filter(expression, table).truth(tree.body).to_pylist()]
    except _UNREADABLE as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"the filter {expression!r} cannot be read: {error}") from None


class _Filter:
    def __init__(self, expression: str, table: pa.Table) -> None:
        self.expression = expression
        self.table = table

    def truth(self, node: ast.expr) -> _Truth:
        """The truth of a part of the expression, per record."""
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return self._joined(pc.and_kleene, parts)
            case ast.BoolOp(values=parts):
                return self._joined(pc.or_kleene, parts)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return pc.invert(self.truth(part))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [left, *rights]
                pairs = zip(sides, ops, rights, strict=False)
                return _all(pc.and_kleene, (self._compared(a, op, b) for a, op, b in pairs))
        operand = self._operand(node)
        if operand.is_column and operand.kind == "truth":
            return operand.value
        raise self._error(node, "is neither true nor false; compare it with something")

    def _joined(self, join: Callable[..., _Truth], parts: Iterable[ast.expr]) -> _Truth:
        return _all(join, (self.truth(part) for part in parts))

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Truth:
        match op:
            case ast.Is() | ast.IsNot():
                return self._presence(left, right, absent=isinstance(op, ast.Is))
            case ast.In():
                return self._membership(left, right)
            case ast.NotIn():
                return pc.invert(self._membership(left, right))
        one, other = self._alike(self._operand(left), self._operand(right))
        if not one.is_column and not other.is_column:
            raise self._error(left, "is compared with no column")
        compare: Callable[..., _Truth] = getattr(pc, _COMPARISONS[type(op)])
        return compare(one.value, other.value)

    def _presence(self, left: ast.expr, right: ast.expr, *, absent: bool) -> _Truth:
        operand = self._operand(left)
        nothing = isinstance(right, ast.Constant) and right.value is None
        if not operand.is_column or not nothing:
            raise self._error(left, "'is' takes a column and None only; use ==")
        return pc.is_null(operand.value) if absent else pc.is_valid(operand.value)

    def _membership(self, left: ast.expr, right: ast.expr) -> _Truth:
        one = self._operand(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            values = [self._alike(one, self._operand(value)) for value in right.elts]
            if not one.is_column or not values or any(value.is_column for _, value in values):
                raise self._error(right, "'in' takes a column and some plain values")
            column = values[0][0].value
            within = pc.is_in(column, value_set=pa.array([value.value for _, value in values]))
            return pc.if_else(pc.is_valid(column), within, pa.scalar(None, pa.bool_()))
        other = self._operand(right)
        texts = other.is_column and other.kind in {"text", "list"}
        if one.is_column or one.kind != "text" or not texts:
            raise self._error(right, "'in' takes a text and a column of texts, or a list of values")
        if other.kind == "list":
            return pa.array(
                None if codes is None else one.value in codes for codes in other.value.to_pylist()
            )
        return pc.match_substring(other.value, pattern=one.value)

    def _operand(self, node: ast.expr) -> _Operand:
        said = ast.unparse(node)
        match node:
            case ast.Constant(value=bool(value)):
                return _Operand(said, value, "truth")
            case ast.Constant(value=int(value) | float(value)):
                return _Operand(said, value, "number")
            case ast.Constant(value=str(value)):
                return _Operand(said, value, "text")
            case ast.Constant(value=None):
                raise self._error(node, "compare with None by 'is' or 'is not'")
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))):
                return _Operand(said, -value, "number")
            case ast.Name(id=name):
                return self._column(name)
            case ast.Call(
                func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[]
            ):
                return self._column(name)
        raise self._error(node, "is not understood; a filter has columns, values and comparisons")

    def _column(self, name: str) -> _Operand:
        for prefix in _SHORT_FOR:
            if prefix + name in self.table.column_names:
                column = self.table[prefix + name]
                return _Operand(name, column, _kind(column.type))
        names = self.table.column_names
        short = dict.fromkeys(n.removeprefix(prefix) for prefix in _SHORT_FOR for n in names)
        hint = did_you_mean(name, short) or f"; there are: {', '.join(names)}"
        raise ExportError(f"the filter {self.expression!r}: no column {name!r}{hint}")

    def _alike(self, one: _Operand, other: _Operand) -> tuple[_Operand, _Operand]:
        """Both of one kind; texts of a column are read as numbers where a number is compared."""
        if "list" in {one.kind, other.kind}:
            raise self._mixed(one, other)
        if "nothing" in {one.kind, other.kind} or one.kind == other.kind:
            return one, other
        if other.kind == "number":
            return self._as_number(one), other
        if one.kind == "number":
            return one, self._as_number(other)
        raise self._mixed(one, other)

    def _as_number(self, operand: _Operand) -> _Operand:
        if not operand.is_column or operand.kind != "text":
            number = _Operand("a number", 0, "number")
            raise self._mixed(operand, number)
        try:
            return _Operand(operand.said, pc.cast(operand.value, pa.float64()), "number")
        except pa.ArrowInvalid:
            raise ExportError(
                f"the filter {self.expression!r}: {operand.said} holds texts that are no numbers"
            ) from None

    def _mixed(self, one: _Operand, other: _Operand) -> ExportError:
        return ExportError(
            f"the filter {self.expression!r}: {one.said} ({one.kind}) cannot be compared with "
            f"{other.said} ({other.kind})"
        )

    def _error(self, node: ast.expr, what: str) -> ExportError:
        return ExportError(f"the filter {self.expression!r}: {ast.unparse(node)!r} {what}")


def _kind(arrow: pa.DataType) -> str:
    if pa.types.is_boolean(arrow):
        return "truth"
    if pa.types.is_null(arrow):
        return "nothing"
    if pa.types.is_list(arrow):
        return "list"
    number = pa.types.is_integer(arrow) or pa.types.is_floating(arrow)
    return "number" if number else "text"


def _all(join: Callable[..., _Truth], truths: Iterable[_Truth]) -> _Truth:
    first, *others = truths
    for other in others:
        first = join(first, other)
    return first
