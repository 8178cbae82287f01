"""A choice of a run as a run of its own.

A view of a run: links to the chosen videos, their part of index, scores and plan, the choice, and a
page with the whole sweep. It is written aside and renamed, and holds nothing that is only there.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dispose_stages.atomic import write_pieces, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest_text import csv_text
from dispose_stages.batch.run_files import pairs_text, read_pairs
from dispose_stages.benchmark.choice import Candidate, Choice
from dispose_stages.errors import ConfigError
from dispose_stages.records import record_text
from dispose_stages.store.files import file_digest

CHOICE = "choice.json"
_FORM = ("dispose-choice", 1)


def write_view(run_dir: Path, choice: Choice, to: Path) -> None:
    """Write the view of a choice; a former view there is replaced, anything else is not.

    Raises:
        ConfigError: Something else lies there.
        StoreError: The run cannot be read.
    """
    if to.exists() and not (to / CHOICE).exists():
        raise ConfigError(f"{to} is there and no choice of `dispose select`")
    aside = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        _write(RunLayout(run_dir), choice, aside, to)
        if to.exists():
            former = aside.with_name(f"{aside.name}.old")
            to.rename(former)
            shutil.rmtree(former)
        aside.rename(to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(layout: RunLayout, choice: Choice, aside: Path, to: Path) -> None:
    view, ids = RunLayout(aside), {c.record["pair_id"] for _, c in choice.chosen()}
    view.videos.mkdir(parents=True)
    for pair_id in sorted(ids):
        for path in sorted(layout.videos.glob(f"{pair_id}.*")):
            (view.videos / path.name).symlink_to(_from(to / "videos", path))
    write_text(view.config, layout.config.read_text(encoding="utf-8"))
    rows = (row for row in read_pairs(layout) if row.pair_id in ids)
    write_pieces(view.pairs, pairs_text(rows))
    for source, target in ((layout.index, view.index), (layout.scores, view.scores)):
        if source.exists():
            table = pq.read_table(source)
            chosen = table.filter(pc.field("pair_id").isin(pa.array(sorted(ids), pa.string())))
            pq.write_table(chosen, target)
    write_text(aside / "selected.csv", selected_csv(choice))
    write_text(aside / "grid.html", grid_html(choice, _from(to, layout.videos)))
    said = {
        "metric": choice.metric,
        "better": choice.way,
        "per": list(choice.per),
        "run": _from(to, layout.root),
        "index": file_digest(layout.index),
        "chosen": [c.record["pair_id"] for _, c in choice.chosen()],
        "without_value": [list(group) for group in choice.left_out],
    }
    write_text(aside / CHOICE, record_text(*_FORM, said))


def _from(folder: Path, path: Path) -> str:
    return os.path.relpath(path.absolute(), folder.absolute())


def selected_csv(choice: Choice) -> str:
    """A line per group: what makes it, the chosen pair, its value, the next best and how many."""
    rows: list[list[object]] = [
        [*choice.per, "pair_id", choice.metric, "candidates", "without_value"]
    ]
    for group, best in choice.chosen():
        candidates = choice.groups[group]
        without = sum(candidate.value is None for candidate in candidates)
        rows.append([*group, best.record["pair_id"], best.value, len(candidates), without])
    return csv_text(rows)


def grid_html(choice: Choice, videos: str) -> str:
    """The sweep as a grid: a row per group, a column per combination of what differs in it."""
    swept = _swept(choice)
    columns = dict.fromkeys(
        tuple(str(c.record[name]) for name in swept) for cs in choice.groups.values() for c in cs
    )
    rows = []
    for group, candidates in choice.groups.items():
        cells: dict[tuple[str, ...], list[Candidate]] = {column: [] for column in columns}
        for each in candidates:
            cells[tuple(str(each.record[name]) for name in swept)].append(each)
        rows.append((group, list(cells.values())))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(Path(__file__).with_name("grid.html").read_text()).render(
        choice=choice,
        names=[name.removeprefix("parameter_") for name in swept],
        columns=list(columns),
        rows=rows,
        videos=videos,
    )


def _swept(choice: Choice) -> list[str]:
    """Parameters that differ within groups."""
    records = [c.record for candidates in choice.groups.values() for c in candidates]
    names = [name for name in records[0] if name.startswith("parameter_")] if records else []
    return [name for name in names if len({str(record[name]) for record in records}) > 1]
