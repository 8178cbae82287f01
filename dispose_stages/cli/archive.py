"""``dispose archive``: a run somewhere else."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.cli.logs import configure_logging, unit_progress
from dispose_stages.cli.options import FOLDER, run_dir_argument
from dispose_stages.cli.terminal import say


@click.command()
@run_dir_argument
@click.option(
    "--to",
    required=True,
    type=FOLDER,
    help="The folder; a copy that was cut short goes on there.",
)
@click.pass_obj
def archive(obj: dict[str, bool], *, run_dir: Path, to: Path) -> None:
    """Copy the run in RUN_DIR with all that is needed to look at it, score it and reproduce it.

    That is: videos, report, tables, plan and ledgers; the artifacts that are there; manifest and
    media; the configuration. Checkpoints stay where they are, their digests are in the run. The
    run works in the new folder: `cd DIR; dispose status results/RUN; dispose run --config
    config.yaml`. Its checksums are in checksums.sha256 (`sha256sum -c` reads them).
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.archive import archive_run
    from dispose_stages.batch.layout import RunLayout

    with unit_progress("archive") as on_progress:
        files, missing = archive_run(RunLayout(run_dir), to, on_progress)
    for path in missing:
        say(f"not there any more: {path}")
    size = sum(path.stat().st_size for path in files)
    say(f"{len(files)} files, {size / 1e9:.2f} GB: {to}")
