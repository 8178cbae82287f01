"""``dispose table``: means of scores with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.options import run_dirs_argument
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.benchmark.table import Table

_FORMATS = ("md", "csv", "tex", "json")


@click.command()
@run_dirs_argument
@click.option(
    "--by",
    default="variant",
    show_default=True,
    help="What pairs are grouped by: run, variant, driver, reference, with commas between.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="md",
    show_default=True,
    help="Markdown, CSV, LaTeX or JSON.",
)
@click.option("--mixed", is_flag=True, help="Compare values of different protocols all the same.")
def table(*, run_dirs: tuple[Path, ...], by: str, form: str, mixed: bool) -> None:
    """Means of the scores of runs, with bootstrap intervals by pair and what is missing.

    Where pairs are grouped by variant, also differences to the full method over the pairs that both
    have. Metrics of sets (FID, FVD, CD-FVD) are computed from the stored features. Values that were
    measured by different protocols are not compared unless --mixed says so.
    """
    from dispose_stages.benchmark.rendering import render

    names = [name.strip() for name in by.split(",") if name.strip()]
    say(render(table_of(run_dirs, names, mixed=mixed), form).rstrip("\n"))


def table_of(
    runs: Sequence[Path], by: Sequence[str], *, mixed: bool = False, paper: bool = False
) -> Table:
    """The table of some runs.

    Raises:
        StoreError: A run has no scores.
        ConfigError: They were measured differently, or `by` names something unknown.
    """
    from dispose_stages.benchmark.paper import NOTE, PUBLISHED
    from dispose_stages.benchmark.records import check_protocols, read_scores
    from dispose_stages.benchmark.sets import measures_sets, set_values
    from dispose_stages.benchmark.table import tabulate

    scores = read_scores(runs)
    if not mixed:
        check_protocols(scores)
    return tabulate(
        scores,
        by,
        sets=list(set_values(runs, by)) if measures_sets(scores["group"]) else (),
        paper=PUBLISHED if paper else {},
        notes=(NOTE,) if paper else (),
    )
