"""``dispose report``: what a run came to, for people and for programs."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.cli.logs import configure_logging
from dispose_stages.cli.options import run_dir_option
from dispose_stages.cli.terminal import say


@click.command()
@run_dir_option
@click.pass_obj
def report(obj: dict[str, bool], *, run_dir: Path) -> None:
    """Write report.html, index.parquet, failures.csv and rejects.csv of a run.

    All follow from plan, ledgers and artifacts, and may be written again at any time, also while
    the run goes on.
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.index import write_failures, write_index, write_rejects
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.report.stage import write_report

    outcomes = RunOutcomes.read(run_dir)
    write_rejects(outcomes)
    write_index(outcomes)
    write_failures(outcomes)
    write_report(run_dir)
    layout = outcomes.layout
    say(str(outcomes.counts()))
    for path in (layout.report, layout.index, layout.failures, layout.rejects):
        say(f"written: {path}")
