"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)

run_dir_argument = click.argument("run_dir", type=FOLDER, metavar="RUN_DIR")
"""``<results>/<run>`` as an argument."""

run_dir_option = click.option(
    "--run-dir",
    required=True,
    type=FOLDER,
    help="Folder of the run: <results>/<run>.",
)
"""The same as an option."""

config_option = click.option(
    "--config",
    "config_file",
    type=FILE,
    default=Path("config/config.yaml"),
    show_default=True,
    help="Configuration file.",
)

profile_option = click.option(
    "--profile",
    type=FOLDER,
    default=Path("profiles/local"),
    show_default=True,
    help="Where to run: profiles/local, profiles/slurm, or one of your own.",
)

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a configuration key, such as parameters.seed=7 or score.metrics=[frames,pose]. "
    "May be repeated.",
)
