"""``dispose select``: the best of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.options import FOLDER, run_dir_argument
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.report.metrics import Better


@click.command()
@run_dir_argument
@click.option("--best", "metric", required=True, help="A score of the run, such as pck_010_body.")
@click.option(
    "--per",
    default="reference,driver",
    show_default=True,
    help="One of each: reference, driver, or columns of the index, with commas between.",
)
@click.option("--highest", "way", flag_value="higher", help="The higher, the better.")
@click.option("--lowest", "way", flag_value="lower", help="The lower, the better.")
@click.option("--to", type=FOLDER, help="Folder of the view. Default: RUN_DIR-best-METRIC.")
def select(*, run_dir: Path, metric: str, per: str, way: Better | None, to: Path | None) -> None:
    """Choose the best delivered pair of every group of the run in RUN_DIR, and make a view of them.

    The view holds links to the chosen videos (no copies), their part of index.parquet and
    scores.parquet, selected.csv, the choice itself (choice.json), and grid.html with the whole
    sweep. `dispose export VIEW` makes a data set of it. Nothing of the run is changed.
    """
    from dispose_stages.benchmark.choice import choose
    from dispose_stages.benchmark.selection import selected_csv, write_view

    names = [name.strip() for name in per.split(",") if name.strip()]
    choice = choose(run_dir, metric, names, way or "")
    target = to or run_dir.with_name(f"{run_dir.name}-best-{metric}")
    write_view(run_dir, choice, target)
    say(selected_csv(choice).rstrip("\n"))
    for group in choice.left_out:
        say(f"no value: {', '.join(group)}", err=True)
    say(f"{sum(1 for _ in choice.chosen())} of {len(choice.groups)} groups: {target}", err=True)
