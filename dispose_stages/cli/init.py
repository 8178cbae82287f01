"""``dispose init``: a folder to work in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from dispose_stages.atomic import write_text
from dispose_stages.batch.manifest_columns import REQUIRED_COLUMNS
from dispose_stages.cli.options import FOLDER
from dispose_stages.cli.terminal import say
from dispose_stages.shipped import shipped

_CONFIG = """\
# The keys one changes; `dispose config --folder DIR` writes all of them with their meaning.
# Paths here begin at the folder in which `dispose` is called, those of a manifest at its own.

# Results lie in results/<run>.
run: {run}
# CSV of (reference image, driving video) pairs.
manifest: manifest.csv
# Artifacts, which runs share: tens of megabytes a pair. On a cluster a fast shared disk.
store: store
# `official`: models/official, brought by `dispose weights download`; animates people.
# `small`: comes with the program; animates procedural figures only.
models: official
parameters:
  # Of the sampler's noise; a manifest's column `seed` overrides it row by row.
  seed: 42
"""
_IGNORED = "/results/\n/store/\n/models/\n/.snakemake/\n"


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
def init(*, folder: Path) -> None:
    """Write a small project to DIR: configuration, empty manifest, a cluster profile to adapt.

    Files that are there are left as they are.
    """
    for path, text in project_files(folder.absolute().name).items():
        if (folder / path).exists():
            say(f"{folder / path}: is there, left as it is")
            continue
        write_text(folder / path, text)
        say(f"{folder / path}: written")
    say(
        f"next: cd {shlex.quote(str(folder))}; fill manifest.csv (`dispose manifest cross` makes "
        "one of two folders); `dispose weights download`; `dispose run`"
    )


def project_files(name: str) -> dict[Path, str]:
    """Path in the project to text.

    Args:
        name: Of the project; its letters, digits, dots and dashes name the run.
    """
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "first"
    profile = Path("profiles", "slurm", "config.yaml")
    return {
        Path("config", "config.yaml"): _CONFIG.format(run=run),
        Path("manifest.csv"): ",".join(REQUIRED_COLUMNS) + "\n",
        profile: shipped(str(profile)).read_text(encoding="utf-8"),
        Path(".gitignore"): _IGNORED,
    }
