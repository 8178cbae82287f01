"""``dispose vbench``: a folder for VBench's own command, and its results beside our scores."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.cli.options import FILE, FOLDER, run_dir_argument
from dispose_stages.cli.terminal import say


@click.group()
def vbench() -> None:
    """Hand videos to VBench, which has an environment of its own, and take its results in."""


@vbench.command()
@run_dir_argument
@click.option(
    "--to",
    "folder",
    required=True,
    type=FOLDER,
    help="Empty folder for `vbench evaluate --videos_path`.",
)
def export(*, run_dir: Path, folder: Path) -> None:
    """Copy the delivered videos of a run to a flat folder, as VBench takes them."""
    from dispose_stages.benchmark.vbench import export_videos

    count, pairs = export_videos(run_dir, folder)
    say(f"{folder}: videos of {count} of {pairs} pairs")


@vbench.command(name="import")
@run_dir_argument
@click.argument("results", type=FILE)
def import_(*, run_dir: Path, results: Path) -> None:
    """Take in the JSON that VBench wrote (…_eval_results.json); `dispose table` shows it."""
    from dispose_stages.benchmark.vbench import import_results

    for metric in import_results(run_dir, results):
        say(metric)
