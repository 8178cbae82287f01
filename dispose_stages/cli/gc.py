"""``dispose gc``: what the store holds and no run needs, and videos that no row owns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispose_stages.cli.options import FOLDER, run_dirs_argument
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.store.listing import StoredFile

_UNITS = {"m": 60, "h": 3600, "d": 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([mhd]?)", re.ASCII)


class Age(click.ParamType[float]):
    """Seconds from ``14d``, ``36h``, ``90m``; hours without a letter."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        match = _AGE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no age; write 14d, 36h or 90m", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "h"]


@click.command()
@run_dirs_argument
@click.option("--store", type=FOLDER, help="The store. Default: the one of the first run.")
@click.option(
    "--older-than",
    type=Age(),
    default="24h",
    show_default=True,
    help="Leave younger files alone: 14d, 36h, 90m.",
)
@click.option(
    "--intermediates",
    is_flag=True,
    help="Also what runs do not keep (store.keep) and nothing to be computed reads.",
)
@click.option(
    "--videos", is_flag=True, help="Move videos that no row owns away; leave the store alone."
)
@click.option("--delete", is_flag=True, help="Really do it; without, only sizes are shown.")
def gc(
    *,
    run_dirs: tuple[Path, ...],
    store: Path | None,
    older_than: float,
    intermediates: bool,
    videos: bool,
    delete: bool,
) -> None:
    """Delete artifacts that no run needs; by default only show their numbers and sizes.

    All runs in the folder of RUN_DIR count; name runs of other folders beside it. Needed are the
    artifacts that their ledgers name, those that unfinished jobs will look for, and whatever a
    living lease holds. Left-over temporary files, saved states and dead leases go too. Runs of
    other folders that share the store lose what only they need, and compute it again.

    With --intermediates, artifacts that delivered videos were made from go as well, where
    `store.keep` of every run that has them allows it; what they were is noted, so the videos stay
    delivered and can be traced. With --videos, the videos of removed or renamed rows are moved to
    the folder `removed` of their run.
    """
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.batch.run_files import read_run_config

    if videos:
        _move_strangers([RunLayout(run_dir) for run_dir in run_dirs], delete=delete)
        return
    root = store or Path(read_run_config(RunLayout(run_dirs[0])).store)
    files = [
        file
        for file in _unneeded(root, run_dirs, intermediates=intermediates)
        if file.age >= older_than
    ]
    if delete:
        _delete(root, files, intermediates=intermediates)
    _say_sizes(files)
    verb = "deleted" if delete else "can be deleted (with --delete)"
    total = _megabytes(sum(file.size for file in files)).strip()
    say(f"{len(files)} files, {total} {verb}")


def _unneeded(
    root: Path, run_dirs: tuple[Path, ...], *, intermediates: bool
) -> Iterable[StoredFile]:
    from dispose_stages.batch.needed import needed_artifacts, runs_beside, shares_store
    from dispose_stages.config import STORED_STAGES
    from dispose_stages.store.listing import stored_files

    needed: set[tuple[str, str]] = set()
    for layout in runs_beside(run_dirs):
        if shares_store(layout, root):
            needed |= needed_artifacts(layout, intermediates=not intermediates)
    return (f for f in stored_files(root, STORED_STAGES) if not _is_wanted(f, needed, root))


def _is_wanted(file: StoredFile, needed: set[tuple[str, str]], root: Path) -> bool:
    from dispose_stages.batch.lease import CERTAINLY_DEAD, read_lease
    from dispose_stages.store.artifacts import ArtifactStore
    from dispose_stages.store.listing import FileKind

    if read_lease(ArtifactStore(root).lease_path(file.stage, file.key), CERTAINLY_DEAD) is not None:
        return True
    return (
        file.kind in {FileKind.ARTIFACT, FileKind.SAVED_STATE} and (file.stage, file.key) in needed
    )


def _delete(root: Path, files: list[StoredFile], *, intermediates: bool) -> None:
    from dispose_stages.store.artifacts import ArtifactStore
    from dispose_stages.store.freed import free_artifacts

    noted: set[Path] = set()
    if intermediates:
        store = ArtifactStore(root)
        by_stage: dict[str, list[str]] = {}
        for file in files:
            if file.finished:
                by_stage.setdefault(file.stage, []).append(file.key)
        noted = {
            store.path(stage, key)
            for stage, keys in by_stage.items()
            for key in free_artifacts(store, stage, keys)
        }
    for file in files:
        if file.path not in noted:
            file.path.unlink(missing_ok=True)


def _say_sizes(files: list[StoredFile]) -> None:
    counts = Counter(file.stage for file in files)
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[file.stage] += file.size
    for stage in counts:
        say(f"{stage:<15} {counts[stage]:>8} files {_megabytes(sizes[stage])}")


def _move_strangers(layouts: list[RunLayout], *, delete: bool) -> None:
    from dispose_stages.batch.run_files import read_pairs
    from dispose_stages.batch.run_lock import RunLock
    from dispose_stages.batch.strangers import move_away, stranger_videos

    for layout in layouts:
        strangers = stranger_videos(layout, read_pairs(layout))
        for pair_id in strangers:
            say(str(layout.videos / pair_id))
        if not delete:
            say(f"{len(strangers)} videos can be moved to {layout.removed} (with --delete)")
            continue
        with RunLock(layout.run_lock):
            moved = move_away(layout, strangers)
        say(f"{len(strangers)} videos ({len(moved)} files) moved to {layout.removed}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:>10.1f} MB"
