"""``dispose fingerprint``: digests of the checkpoints a run uses."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.cli.logs import configure_logging
from dispose_stages.cli.options import run_dir_argument


@click.command()
@run_dir_argument
@click.pass_obj
def fingerprint(obj: dict[str, bool], *, run_dir: Path) -> None:
    """Write the digests of a planned run's checkpoints to ledger/weights.json.

    The digests are part of every artifact's key, so other weights mean other artifacts. A file is
    read once and remembered by path, size and modification time. Stages whose files are not all
    there are left out: the run was started without need of them.
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.batch.run_files import read_run_config, write_stage_weights
    from dispose_stages.weights.digests import DigestCache, digest_stages
    from dispose_stages.weights.verification import complete_stages

    layout = RunLayout(run_dir)
    config = read_run_config(layout)
    root = config.models.folder
    stages = complete_stages(root, config.models.bundle)
    cache = DigestCache(Path(config.store) / "weights.json")
    write_stage_weights(layout, config.models.bundle, digest_stages(root, stages, cache))
