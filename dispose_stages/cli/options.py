"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from dispose_stages.config import STAGES, Config, load_config
from dispose_stages.config_text import read_config_files
from dispose_stages.shipped import here_or_shipped

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)

run_dir_argument = click.argument("run_dir", type=FOLDER, metavar="RUN_DIR")
"""``<results>/<run>``."""


def _here_or_shipped(_ctx: click.Context, _parameter: click.Parameter, value: Path) -> Path:
    return here_or_shipped(value)


config_option = click.option(
    "--config",
    "config_file",
    type=FILE,
    default=Path("config/config.yaml"),
    show_default=True,
    callback=_here_or_shipped,
    help="Configuration file; where the default is not there, the program's own values hold.",
)

profile_option = click.option(
    "--profile",
    type=FOLDER,
    default=Path("profiles/local"),
    show_default=True,
    callback=_here_or_shipped,
    help="Where to run: profiles/local, profiles/slurm, or one of your own (`dispose init`).",
)

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a configuration key, such as parameters.seed=7 or score.metrics=[frames,pose]. "
    "May be repeated.",
)


def configured(config_file: Path, settings: Iterable[str] = ()) -> Config:
    """What `config_option` and `settings_option` say."""
    files = [config_file] if config_file.exists() else []
    return load_config(read_config_files(files, settings))


stages_option = click.option(
    "--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Only this stage."
)
