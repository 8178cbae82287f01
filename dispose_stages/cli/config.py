"""``dispose config``: generated configuration files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dispose_stages.cli.options import FOLDER
from dispose_stages.cli.terminal import say


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file is outdated.")
@click.option(
    "--folder",
    type=FOLDER,
    default=Path("config"),
    show_default=True,
    help="Where the files lie.",
)
def config(*, check: bool, folder: Path) -> None:
    """Write config.yaml, config.schema.json and README.md from the program's own definition.

    This overwrites the folder's config.yaml: keep your own settings in another file and pass that
    with `--config`.
    """
    from dispose_stages.cli.config_files import FIXING_COMMAND, outdated_files, write_files

    if not check:
        for path in write_files(folder):
            say(f"written: {path}")
        return
    outdated = outdated_files(folder)
    for path in outdated:
        say(f"error: {path} is outdated; run `{FIXING_COMMAND}`", err=True)
    sys.exit(1 if outdated else 0)
