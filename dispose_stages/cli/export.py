"""``dispose export``: a finished run as a data set."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispose_stages.cli.logs import configure_logging, unit_progress
from dispose_stages.cli.options import EXISTING_FILE, FILE, FOLDER, run_dir_argument
from dispose_stages.cli.terminal import say
from dispose_stages.errors import ExportError

if TYPE_CHECKING:
    from dispose_stages.export.dataset import DataSet
    from dispose_stages.export.settings import ExportSettings

_EXTRAS = {"mlcroissant": "mlcroissant", "c2pa": "c2pa-python"}


@click.command()
@run_dir_argument
@click.option(
    "--to",
    "folder",
    required=True,
    type=FOLDER,
    help="Folder of the data set: new, empty, or of the same export that was interrupted.",
)
@click.option(
    "--layout",
    required=True,
    type=click.Choice(["webdataset", "videofolder", "parquet"]),
    help="tar shards; videos in folders with metadata; videos inside Parquet files.",
)
@click.option(
    "--split",
    "split",
    metavar="SHARES",
    help="train/validation/test or train/test as shares of the samples, e.g. 0.8/0.1/0.1. Default: "
    "the manifest's column `split`, or one split.",
)
@click.option(
    "--group",
    "groups",
    metavar="COLUMN[,COLUMN]",
    default="reference_digest,driver_digest",
    show_default=True,
    help="No value of these columns is in two splits.",
)
@click.option(
    "--filter",
    "expression",
    default="",
    metavar="EXPRESSION",
    help='Which pairs, by columns of index.parquet: "pck_010 > 0.8 and frames >= 48".',
)
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice(["trajectories", "field", "frames"]),
    help="Also export body trajectories, motion fields, lossless frames. May be repeated.",
)
@click.option("--unlicensed-ok", is_flag=True, help="Licence, consent and source may be absent.")
@click.option(
    "--takedown",
    type=FILE,
    help="List of digests of sources that must not appear, beside <results>/takedown.txt.",
)
@click.option(
    "--about",
    type=FILE,
    help="YAML file with name, description, creators, licence, citation … of the data set.",
)
@click.option(
    "--sign",
    nargs=2,
    type=EXISTING_FILE,
    metavar="CERTIFICATES KEY",
    help="Sign the videos (C2PA) with this certificate chain and private key (PEM files). Signed "
    "videos differ from export to export.",
)
@click.option(
    "--sign-algorithm",
    default="es256",
    show_default=True,
    type=click.Choice(["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]),
    help="Of the certificate's key.",
)
@click.option(
    "--samples-per-shard",
    type=click.IntRange(1, 1000),
    default=1000,
    show_default=True,
    help="At most; a shard also ends at 1 GB.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes, where there is work for them. Default: one for two processors.",
)
@click.pass_obj
def export(obj: dict[str, bool], /, *, run_dir: Path, folder: Path, **options: Any) -> None:
    """Make a data set of the delivered videos of RUN_DIR.

    The same command again goes on where an interrupted one stopped. Equal runs and options give
    equal bytes, signatures aside. What is left out, and why, stands in README.md and left_out.csv.
    """
    configure_logging(verbose=obj["verbose"])
    _check_extras("mlcroissant", *(["c2pa"] if options["sign"] else []))
    from dispose_stages.export.plan import plan_export
    from dispose_stages.export.publish import publish
    from dispose_stages.export.signing import Certificate

    plan = plan_export(run_dir, _settings(run_dir, options))
    sign = options["sign"]
    with unit_progress("export") as show:
        dataset = publish(
            run_dir,
            plan,
            folder,
            workers=options["jobs"] or max(1, len(os.sched_getaffinity(0)) // 2),
            certificate=Certificate(sign[0], sign[1], options["sign_algorithm"]) if sign else None,
            on_progress=lambda done, place: show(done, plan.samples, place),
        )
    for line in _lines(dataset, folder):
        say(line)


def _settings(run_dir: Path, options: Mapping[str, Any]) -> ExportSettings:
    from dispose_stages.export.about import read_about
    from dispose_stages.export.settings import (
        ExportSettings,
        Extra,
        Layout,
        parse_shares,
        read_takedown,
    )
    from dispose_stages.export.takedown import standing_list

    standing = standing_list(run_dir.absolute().parent)
    lists = [path for path in (options["takedown"], standing) if path]
    return ExportSettings(
        layout=Layout(options["layout"]),
        shares=parse_shares(options["split"]) if options["split"] else {},
        filter=options["expression"],
        groups=tuple(name.strip() for name in options["groups"].split(",")),
        extras=tuple(sorted({Extra(extra) for extra in options["extras"]})),
        unlicensed_ok=options["unlicensed_ok"],
        takedown=frozenset().union(*(read_takedown(path) for path in lists)),
        about=read_about(options["about"]) if options["about"] else {},
        signed=options["sign"] is not None,
        samples_per_shard=options["samples_per_shard"],
    )


def _lines(dataset: DataSet, folder: Path) -> Iterator[str]:
    """What was made, for people."""
    counts = dataset.counts()
    yield f"{counts.pop('samples')} of {dataset.pairs} pairs exported to {folder}"
    for reason, count in counts.items():
        yield f"  {count} left out: {reason}"
    for split in dataset.settings.shares or dataset.splits:
        yield f"  {split}: {sum(r['split'] == split for r in dataset.records)} samples"


def _check_extras(*modules: str) -> None:
    missing = [_EXTRAS[m] for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise ExportError(
            f"export needs {' and '.join(missing)}: pip install 'dispose-stages[export]'"
        )
