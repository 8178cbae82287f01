"""``dispose retry``: failed units get another chance."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.batch.layout import RunLayout
from dispose_stages.cli.options import run_dir_argument, stages_option
from dispose_stages.cli.terminal import say
from dispose_stages.config import STAGES
from dispose_stages.errors import Reason


@click.command()
@run_dir_argument
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([str(reason) for reason in Reason]),
    help="Only units that failed for this reason. May be repeated.",
)
@stages_option
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be re-opened.")
def retry(
    *, run_dir: Path, reasons: tuple[str, ...], stages: tuple[str, ...], dry_run: bool
) -> None:
    """Re-open the failed units of the run in RUN_DIR; the next `dispose run` tries them again.

    Finished units stay. Whole jobs are re-opened, so other failed units of the same job are tried
    again too.
    """
    from dispose_stages.batch.reruns import failed_units, reopen_failed

    act = failed_units if dry_run else reopen_failed
    found = act(RunLayout(run_dir), stages or None, [Reason(reason) for reason in reasons] or None)
    for stage in STAGES:
        count = sum(len(units) for (of, _), units in found.items() if of == stage)
        if count:
            say(f"{stage}: {count} failed units")
    units = sum(len(units) for units in found.values())
    verb = "would be re-opened" if dry_run else "re-opened; `dispose run` tries them again"
    say(f"{units} units in {len(found)} jobs {verb}" if units else "nothing to re-open")
