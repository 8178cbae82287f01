"""``dispose verify``: is everything still what it was when it was made?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dispose_stages.batch.layout import RunLayout
from dispose_stages.cli.logs import configure_logging, unit_progress
from dispose_stages.cli.options import run_dir_argument
from dispose_stages.cli.terminal import say

EXIT_DAMAGED = 5


@click.command()
@run_dir_argument
@click.option("--whole-store", is_flag=True, help="Look at the artifacts of other runs too.")
@click.option("-n", "--dry-run", is_flag=True, help="Only look; change nothing.")
@click.pass_obj
def verify(obj: dict[str, bool], *, run_dir: Path, whole_store: bool, dry_run: bool) -> None:
    """Read everything the run in RUN_DIR has made and compare it with the digests of its making.

    Damaged artifacts are removed and damaged videos recalled, so that the next `dispose run` makes
    them again, and only them.

    Exit status: 0 all is well, 5 there is damage.
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.reruns import reopen
    from dispose_stages.batch.verify import Verification

    layout = RunLayout(run_dir)
    found = 0
    with unit_progress("verify") as on_progress:
        check = Verification(layout, repair=not dry_run, on_progress=on_progress)
        for path, what in check.damages(whole_store=whole_store):
            found += 1
            say(f"{path}: {what}")
    if not found:
        say("all is as it was made")
        return
    if dry_run:
        say(f"{found} damaged")
    else:
        reopen(layout, sorted(check.again))
        say(f"{found} damaged and taken out of use; `dispose run` makes them again")
    sys.exit(EXIT_DAMAGED)
