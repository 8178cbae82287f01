"""``dispose logs``: what the jobs said about one pair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from dispose_stages.batch.ledger import Shard
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.unit import stage_of
from dispose_stages.cli.options import run_dir_argument, stages_option
from dispose_stages.cli.terminal import say
from dispose_stages.errors import DisposeError

_BEGINS = re.compile(r"^\S+ \S+ INFO [\w.]+: begins (\S+): ")
_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_OF_ALL = re.compile(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) ")


@click.command()
@run_dir_argument
@click.argument("pair_id", metavar="PAIR")
@stages_option
def logs(*, run_dir: Path, pair_id: str, stages: tuple[str, ...]) -> None:
    """Show what the jobs of every stage said while they worked on PAIR's units.

    Units are shared: what a job said of a driving video belongs to all pairs of that video.
    Warnings that belong to no unit, such as a job's early end, are shown too.
    """
    outcomes = RunOutcomes.read(run_dir)
    pair = outcomes.pair(pair_id)
    for role in pair.units:
        stage = stage_of(role)
        if not stages or stage in stages:
            for line in role_lines(outcomes, pair, role, stage):
                say(line)


def role_lines(outcomes: RunOutcomes, pair: Row, role: str, stage: str) -> Iterator[str]:
    """Lines of one of a pair's units, under the name of the log they stand in."""
    unit = pair.units[role]
    shard = shard_of(outcomes, stage, unit)
    path = None if shard is None else outcomes.layout.log(stage, shard)
    result = outcomes.result(pair, role)
    state = "pending" if result is None else str(result.status)
    yield f"== {role}: {state}" + (f"  {path}" if path and path.exists() else "  no log yet")
    if path and path.exists():
        yield from unit_lines(path.read_text(encoding="utf-8", errors="replace"), unit)


def shard_of(outcomes: RunOutcomes, stage: str, unit: str) -> str | None:
    """The shard that has a unit, whether it has run or not."""
    if path := outcomes.log(stage, unit):
        return path.stem
    for name in outcomes.summary.shards[stage]:
        try:
            units = Shard.read(outcomes.layout.shard(stage, name)).units
        except DisposeError:
            continue
        if any(each.id == unit for each in units):
            return name
    return None


def unit_lines(text: str, unit: str) -> Iterator[str]:
    """Lines between the unit's beginning and the next one's, and warnings outside of all units."""
    of: str | None = None
    shown = False
    for line in text.splitlines():
        if begins := _BEGINS.match(line):
            of = begins[1]
        if _LINE.match(line):  # what follows without a time of its own belongs to it
            shown = of == unit or (of is None and _OF_ALL.match(line) is not None)
        if shown:
            yield line
