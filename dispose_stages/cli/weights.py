"""``dispose weights``: the checkpoint files."""

from __future__ import annotations

from pathlib import Path

import click

from dispose_stages.cli.options import EXISTING_FOLDER, FOLDER, config_option, configured
from dispose_stages.cli.terminal import say
from dispose_stages.cli.weights_download import download


@click.group()
def weights() -> None:
    """List, fetch, check and make the checkpoints in the folder `models.root`."""


weights.add_command(download)


@weights.command("list")
def list_files() -> None:
    """List every file that is needed: its place below models.root, size, publisher, stages."""
    from dispose_stages.weights.layout import FILES

    for file in FILES:
        consent = ", asks for consent to its licence" if file.licence_needed else ""
        say(file.name)
        say(f"    {file.describe_size()}; read by {', '.join(sorted(file.stages))}")
        say(f"    from {file.published}{consent}")
        for place in file.places[1:]:
            say(f"    or as {place.path}")


@weights.command()
@config_option
@click.option(
    "--root",
    type=FOLDER,
    help="Folder to check instead of models.root, as the published weights.",
)
def check(*, config_file: Path, root: Path | None) -> None:
    """Say which files are missing or wrong, where they belong and where they are published."""
    from dispose_stages.weights.bundle import bundle_name
    from dispose_stages.weights.verification import verify

    if root is not None:
        bundle = bundle_name(root)
    else:
        models = configured(config_file).models
        root, bundle = models.folder, models.bundle
    verify(root, None, bundle)
    say(f"{root}: all files of the bundle {bundle!r} are there")


@weights.command("make-tiny")
@click.argument("root", type=FOLDER, default=Path("models/tiny"))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random weights.")
def make_tiny_bundle(*, root: Path, seed: int) -> None:
    """Write small random checkpoints in the published layout to ROOT (models/tiny).

    For trying the pipeline without the published weights: same files, same code, but the videos
    show noise. The pose networks are trained and find the demo figure.
    """
    from dispose_stages.training.bundle.tiny import make_tiny

    make_tiny(root, seed=seed)
    say(f"{root}: tiny checkpoints written")


@weights.command()
@config_option
@click.option(
    "--root",
    type=EXISTING_FOLDER,
    help="Folder of the checkpoints instead of models.root.",
)
def convert(*, config_file: Path, root: Path | None) -> None:
    """Rewrite pickled checkpoints as safetensors beside them, for fast loading.

    Needs as much disk space again, unless the pickles are removed afterwards: a conversion stands
    for its pickle, so results stay valid. Types and values are kept. A conversion is used while it
    has the time of change of the pickle beside it (copy folders with their times).
    """
    from dispose_stages.weights.conversion import convert_checkpoint, pickles
    from dispose_stages.weights.converted import conversion_path, is_current

    folder = root or configured(config_file).models.folder
    for source in pickles(folder):
        target = conversion_path(source)
        if is_current(target, source):
            say(f"{target}: is up to date")
            continue
        size = source.stat().st_size / 2**30
        say(f"{source}: converting {size:.2f} GiB ...")
        say(f"{convert_checkpoint(source)}: written")
