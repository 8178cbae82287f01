"""``dispose gc``: what the store holds and no run needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.options import FOLDER
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.store.listing import StoredFile


@click.command()
@click.option(
    "--run-dir",
    "run_dirs",
    multiple=True,
    required=True,
    type=FOLDER,
    help="A run; all runs in the same folder count. May be repeated for runs in other folders.",
)
@click.option(
    "--store",
    type=FOLDER,
    help="The store. Default: the one of the first run.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave younger files alone.",
)
@click.option("--delete", is_flag=True, help="Really delete; without, only sizes are shown.")
def gc(*, run_dirs: tuple[Path, ...], store: Path | None, older_than: float, delete: bool) -> None:
    """Delete artifacts that no run needs; by default only show their sizes.

    Needed are the artifacts that ledgers name, those that unfinished jobs will look for, and
    whatever a living lease holds. Left-over temporary files, saved states and dead leases go too.
    Runs of other folders that share the store lose what only they need, and compute it again.
    """
    from dispose_stages.batch.audit import STORED_STAGES
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.batch.needed import needed_artifacts, runs_beside, shares_store
    from dispose_stages.batch.run_files import read_run_config
    from dispose_stages.store.listing import stored_files

    root = store or Path(read_run_config(RunLayout(run_dirs[0])).store)
    needed: set[tuple[str, str]] = set()
    for layout in runs_beside(run_dirs):
        if shares_store(layout, root):
            needed |= needed_artifacts(layout)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in stored_files(root, STORED_STAGES):
        if file.age < older_than * 3600 or _is_wanted(file, needed, root):
            continue
        counts[file.stage] += 1
        sizes[file.stage] += file.size
        if delete:
            file.path.unlink(missing_ok=True)
    for stage in counts:
        say(f"{stage:<15} {counts[stage]:>8} files {_megabytes(sizes[stage])}")
    verb = "deleted" if delete else "can be deleted (with --delete)"
    total = _megabytes(sum(sizes.values())).strip()
    say(f"{sum(counts.values())} files, {total} {verb}")


def _is_wanted(file: StoredFile, needed: set[tuple[str, str]], root: Path) -> bool:
    from dispose_stages.batch.lease import read_lease
    from dispose_stages.store.artifacts import ArtifactStore
    from dispose_stages.store.listing import Kind

    if read_lease(ArtifactStore(root).lease_path(file.stage, file.key)) is not None:
        return True
    return file.kind in {Kind.ARTIFACT, Kind.SAVED_STATE} and (file.stage, file.key) in needed


def _megabytes(size: int) -> str:
    return f"{size / 1e6:>10.1f} MB"
