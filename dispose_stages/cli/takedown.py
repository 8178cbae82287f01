"""``dispose takedown``: everything that was made from a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.options import FOLDER
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.export.takedown import Found


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--results",
    type=FOLDER,
    default=Path("results"),
    show_default=True,
    help="Folder whose runs are looked through.",
)
@click.option("--yes", is_flag=True, help="Really remove; without, everything is only listed.")
def takedown(*, sources: tuple[str, ...], results: Path, yes: bool) -> None:
    """Find, and with --yes remove, all that was made from a reference image or driving video.

    SOURCE is the file, or its SHA-256. Found are artifacts, videos, reports and data sets of all
    runs below --results, and results of earlier parameters. Data sets are rewritten without it,
    wherever `dispose export` put them, and later exports leave the source out. Copies made by
    others, and the source itself, are for you to remove.
    """
    from dispose_stages.export.settings import check_digest
    from dispose_stages.export.takedown import find, remove
    from dispose_stages.store.files import file_digest

    no_file = "SOURCE is neither a file that is there nor a digest"
    digests = frozenset(
        file_digest(Path(source)) if Path(source).is_file() else check_digest(source, no_file)
        for source in sources
    )
    found = find(results, digests)
    for line in _lines(found):
        say(line)
    count = sum(1 for _ in found.paths())
    samples = sum(dataset.samples or 0 for dataset in found.datasets)
    total = f"{count} files, {samples} samples in {len(found.datasets)} data sets"
    if yes:
        remove(results, digests, found)
        say(f"{total} removed; exports of {results} leave the sources out from now on")
    else:
        say(f"{total} can be removed (with --yes)")
    for line in advice(found):
        say(line)


def _lines(found: Found) -> Iterator[str]:
    kinds = (("video", found.videos), ("artifact", found.artifacts), ("other", found.others))
    for kind, paths in kinds:
        for path in paths:
            yield f"{kind:<9} {path}"
    for dataset in found.datasets:
        what = "never finished" if dataset.samples is None else f"{dataset.samples} samples"
        yield f"data set  {dataset.folder}: {what}"


def advice(found: Found) -> Iterator[str]:
    """What only the user can do."""
    for row in found.rows:
        yield f"remove the row, or the next run makes it again: {row}"
    for path in sorted({path.absolute() for path in found.sources}):
        yield f"the source itself: {path}"
    for path in found.unknown:
        yield f"its origin cannot be told: {path}"
