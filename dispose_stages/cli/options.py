"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

run_dir_argument = click.argument(
    "run_dir", type=click.Path(file_okay=False, path_type=Path), metavar="RUN_DIR"
)
"""``<results>/<run>`` as an argument."""

run_dir_option = click.option(
    "--run-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run: <results>/<run>.",
)
"""The same as an option."""

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("config/config.yaml"),
    show_default=True,
    help="Configuration file.",
)
