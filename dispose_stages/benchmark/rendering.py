"""A table as Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dispose_stages.atomic import readable_json
from dispose_stages.batch.manifest_text import csv_text
from dispose_stages.benchmark.table import Cell, SetValue, Table
from dispose_stages.missing import why_missing

_CSV_COLUMNS = ("mean", "low", "high", "count", "of", "missing")
FORMATS = ("md", "csv", "tex", "json")
_NONE = "\N{EN DASH}"


def render(table: Table, form: str) -> str:
    """The text of one of `FORMATS`."""
    match form:
        case "json":
            return readable_json(table.plain())
        case "csv":
            return _csv(table)
        case "tex":
            return "\n".join(_latex(table)) + "\n"
        case _:
            return "\n".join(_markdown(table)) + "\n"


def number(value: float) -> str:
    """Four significant digits; a dash for none."""
    return _NONE if not math.isfinite(value) else f"{value:.4g}"


def _text(cell: Cell) -> str:
    found = cell.estimate
    if not found.count:
        return f"{_NONE} (0 of {found.of})"
    interval = f" [{number(found.low)}, {number(found.high)}]" if math.isfinite(found.low) else ""
    missing = f" ({found.count} of {found.of})" if found.count < found.of else ""
    return f"{number(found.mean)}{interval}{missing}"


def _set_text(value: SetValue) -> str:
    mark = "*" if value.warning else ""
    known = math.isfinite(value.low)
    interval = f" [{number(value.low)}, {number(value.high)}]" if known else ""
    counts = f"(N = {value.count}, {value.clips} of {value.of} pairs)"
    return f"{number(value.value)}{mark}{interval} {counts}"


def _grid(
    cells: Iterable[Cell | SetValue], first: str
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Names of the columns, the one named `first` before all others; text by metric and column."""
    columns: list[str] = []
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        text = _text(cell) if isinstance(cell, Cell) else _set_text(cell)
        rows.setdefault(cell.metric, {})[cell.group] = text
        if cell.group not in columns:
            columns.append(cell.group)
    return sorted(columns, key=lambda name: (name != first, name)), rows


def _block(cells: Sequence[Cell | SetValue], table: Table, *, paper: bool) -> Iterator[list[str]]:
    columns, rows = _grid(cells, table.baseline)
    published = ["paper"] if paper and table.paper else []
    yield ["metric", *columns, *published]
    for metric, texts in rows.items():
        row = [metric, *(texts.get(column, _NONE) for column in columns)]
        if published:
            row.append(number(table.paper.get(metric, math.nan)))
        yield row


def _markdown(table: Table) -> Iterator[str]:
    yield from _markdown_rows(_block([*table.cells, *table.sets], table, paper=True))
    if table.differences:
        yield ""
        yield f"Differences to `{table.baseline}`, over pairs that both have:"
        yield ""
        yield from _markdown_rows(_block(table.differences, table, paper=False))
    yield ""
    yield from (f"- {line}" for line in _remarks(table))


def excerpt(table: Table, metrics: Sequence[str]) -> str:
    """Markdown of some metrics, with what belongs to them."""
    chosen = replace(
        table,
        cells=tuple(cell for cell in table.cells if cell.metric in metrics),
        differences=tuple(cell for cell in table.differences if cell.metric in metrics),
        sets=(),
        protocols={m: p for m, p in table.protocols.items() if m in metrics},
    )
    return "\n".join(_markdown(chosen)) + "\n"


def _markdown_rows(rows: Iterable[list[str]]) -> Iterator[str]:
    for index, row in enumerate(rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        if index == 0:
            yield "|" + "---|" * len(row)


def _remarks(table: Table) -> Iterator[str]:
    yield "Means over pairs, with 95 % bootstrap intervals (2,000 draws of pairs)."
    for cell in table.cells:
        if cell.estimate.missing:
            why = ", ".join(f"{reason} {n}" for reason, n in cell.estimate.missing.items())
            yield f"missing: {cell.metric}, {cell.group}: {why}"
    for reason in sorted({why for cell in table.cells for why in cell.estimate.missing}):
        if said := why_missing(reason):
            yield f"{reason}: {said.meaning} {said.remedy}"
    for value in table.sets:
        if value.warning:
            yield f"* {value.metric}, {value.group}: {value.warning}"
    yield from table.notes
    yield f"Protocols: {table.fingerprint} (docs/benchmark.md)."


def _latex(table: Table) -> Iterator[str]:
    header, *rows = _block([*table.cells, *table.sets], table, paper=True)
    yield rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    yield r"\toprule"
    yield " & ".join(map(_escaped, header)) + r" \\"
    yield r"\midrule"
    yield from (" & ".join(map(_escaped, row)) + r" \\" for row in rows)
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield from (f"% {line}" for line in _remarks(table))


def _escaped(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text.replace(_NONE, "--")


def _csv(table: Table) -> str:
    return csv_text([("kind", "metric", "group", *_CSV_COLUMNS), *_csv_rows(table)])


def _csv_rows(table: Table) -> Iterator[Sequence[object]]:
    kinds = (("mean", table.cells), (f"difference to {table.baseline}", table.differences))
    for kind, cells in kinds:
        for cell in cells:
            e = cell.estimate
            why = "; ".join(f"{reason} {n}" for reason, n in e.missing.items())
            shown = (_plain(v) for v in (e.mean, e.low, e.high))
            yield kind, cell.metric, cell.group, *shown, e.count, e.of, why
    for value in table.sets:
        numbers = map(_plain, (value.value, value.low, value.high))
        yield "set", value.metric, value.group, *numbers, value.clips, value.of, value.warning
    for metric, published in table.paper.items():
        yield "paper", metric, "", published, "", "", "", "", ""


def _plain(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
