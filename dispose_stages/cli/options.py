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
run_dirs_argument = click.argument(
    "run_dirs", nargs=-1, required=True, type=FOLDER, metavar="RUN_DIR..."
)


def _here_or_shipped(_ctx: click.Context, _parameter: click.Parameter, value: Path) -> Path:
    return here_or_shipped(value)


config_option = click.option(
    "--config",
    "config_file",
    type=FILE,
    default=Path("config/config.yaml"),
    show_default=True,
    callback=_here_or_shipped,
    help="Configuration file; where the default is not there, the program's own is read.",
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
    return load_config(read_config_files([config_file], settings))


class WithSnakemake(click.Command):
    """A command whose last argument, `extra`, is what stands behind ``--``, and nothing else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse words that Snakemake would take for a file to be made."""
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        if stray := ctx.params["extra"]:
            own = "the pairs are named by --manifest, the run by --set run=NAME; "
            ctx.fail(
                f"{stray[0]!r} is not expected here; {own if self.name == 'run' else ''}"
                "what is for Snakemake stands behind `--`"
            )
        ctx.params["extra"] = tuple(args[end + 1 :])
        return rest


stages_option = click.option(
    "--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Only this stage."
)
