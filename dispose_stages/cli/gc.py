"""``dispose gc``: what the store holds and no run needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.unit import Status
from dispose_stages.cli.terminal import say
from dispose_stages.config import STAGES
from dispose_stages.errors import StoreError

_ARTIFACT_STAGES = tuple(stage for stage in STAGES if stage not in {"ingest", "mux"})


@click.command()
@click.option(
    "--run-dir",
    "run_dirs",
    multiple=True,
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="A run whose artifacts are kept. Name every run that uses the store.",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="The store. Default: the one of the first run.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave younger files alone: a running job may have just written them.",
)
@click.option("--delete", is_flag=True, help="Really delete; without, only sizes are shown.")
def gc(*, run_dirs: tuple[Path, ...], store: Path | None, older_than: float, delete: bool) -> None:
    """Delete artifacts that none of the given runs needs; by default only show their sizes.

    Needed are the artifacts that the runs' ledgers name. Other runs that share the store and are
    not named here lose theirs, and compute them again when they are next run.
    """
    from dispose_stages.store.listing import stored_files

    root, needed = _needed(run_dirs)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in stored_files(store or root, _ARTIFACT_STAGES):
        wanted = file.finished and (file.stage, file.key) in needed
        if wanted or file.age < older_than * 3600:
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


def _needed(run_dirs: tuple[Path, ...]) -> tuple[Path, set[tuple[str, str]]]:
    """The first run's store, and stage and key of everything the ledgers name."""
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.batch.run_files import read_run_config

    needed: set[tuple[str, str]] = set()
    for run_dir in run_dirs:
        outcomes = RunOutcomes.read(run_dir)
        if any(shard.running for shard in outcomes.shards):
            raise StoreError(f"{run_dir} is running; wait for its end")
        for stage, results in outcomes.results.items():
            needed |= {(stage, r.key) for r in results.values() if r.status is Status.DONE}
    return Path(read_run_config(RunLayout(run_dirs[0])).store), needed


def _megabytes(size: int) -> str:
    return f"{size / 1e6:>10.1f} MB"
