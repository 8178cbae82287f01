"""``dispose report``: what a run came to, for people and for programs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.logs import configure_logging
from dispose_stages.cli.options import run_dir_argument
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.batch.outcomes import RunOutcomes

_logger = logging.getLogger(__name__)


@click.command()
@run_dir_argument
@click.option("--only", type=click.Choice(["tables", "page"]), help="Default: both.")
@click.option(
    "--previews",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Pairs with moving pictures: those of the first page, the worst and the best, then the "
    "others. Each takes some seconds, once, and 150 kB.",
)
@click.pass_obj
def report(obj: dict[str, bool], *, run_dir: Path, only: str | None, previews: int) -> None:
    """Write the tables (index, scores, failures, rejects) and report.html (the page).

    All follow from plan, ledgers and artifacts, and may be written again at any time, also while
    the run goes on. One that fails leaves the others alone; the exit status then is 1.
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.outcomes import RunOutcomes

    outcomes = RunOutcomes.read(run_dir)
    say(str(outcomes.counts()))
    written = [
        _written(path, write, outcomes) for path, write in _outputs(outcomes, only, previews)
    ]
    sys.exit(0 if all(written) else 1)


def _outputs(
    outcomes: RunOutcomes, only: str | None, previews: int
) -> Iterator[tuple[Path, Callable[[RunOutcomes], None]]]:
    from dispose_stages.batch.failures import write_failures, write_rejects
    from dispose_stages.batch.index import write_index
    from dispose_stages.batch.scores import write_scores

    layout = outcomes.layout
    if only != "page":
        yield layout.rejects, write_rejects
        yield layout.failures, write_failures
        yield layout.index, write_index
        yield layout.scores, write_scores
    if only != "tables":
        from dispose_stages.report.stage import write_report

        yield layout.report, partial(write_report, previews=previews)


def _written(path: Path, write: Callable[[RunOutcomes], None], outcomes: RunOutcomes) -> bool:
    try:
        write(outcomes)
    except Exception as error:
        _logger.exception("%s", path)
        say(f"not written: {path}: {type(error).__name__}: {error}", err=True)
        return False
    say(f"written: {path}")
    return True
