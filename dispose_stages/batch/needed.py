"""Which artifacts runs still want: those their ledgers name, and those their jobs will look for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dispose_stages.batch.audit import Presence
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.retention import known_results, reading_units
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.settled import Settled
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Status, Unit, UnitId
from dispose_stages.config import STAGES, STORED_STAGES
from dispose_stages.errors import DisposeError, StoreError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import VideoShelf


def runs_beside(run_dirs: tuple[Path, ...]) -> Iterator[RunLayout]:
    """All planned runs in the folders of these runs, each once; also those that cannot be read."""
    folders = {run_dir.resolve().parent for run_dir in run_dirs}
    for folder in sorted(folders):
        for root in sorted(folder.iterdir()):
            layout = RunLayout(root)
            if _is_planned(layout, unknown=True):
                yield layout


def other_runs(layout: RunLayout) -> list[RunLayout]:
    """The planned runs beside one that can be read; none where their folder is not there yet."""
    own = layout.root.resolve()
    beside = runs_beside((own,)) if own.parent.is_dir() else ()
    others = (run for run in beside if run.root.resolve() != own)
    return [run for run in others if _is_planned(run, unknown=False)]


def _is_planned(layout: RunLayout, *, unknown: bool) -> bool:
    try:
        return layout.summary.exists()
    except PermissionError:  # somebody else's, closed to us
        return unknown


def needed_artifacts(layout: RunLayout, *, intermediates: bool = True) -> set[tuple[str, str]]:
    """Stage and key of everything a run wants, whether it is there or not.

    Args:
        intermediates: Also what ledgers name although the run does not keep it (`store.keep`) and
            nothing that is to be computed reads it.

    Raises:
        StoreError: The run cannot be read, so that nothing can be said of it.
    """
    summary = PlanSummary.read(layout.summary)
    needed: set[tuple[str, str]] = set()
    finished: dict[UnitId, str] = {}
    for stage in STORED_STAGES:
        for name in summary.shards[stage]:
            if layout.ledger(stage, name).exists():
                results = Ledger.read(layout.ledger(stage, name)).units.items()
                done = {u: r.key for u, r in results if r.status is Status.DONE}
                finished |= {(stage, unit): key for unit, key in done.items()}
            else:
                needed |= {(stage, key) for key in _awaited(layout, stage, name)}
    wanted = set(finished) if intermediates else _kept(layout, summary, set(finished))
    return needed | {(unit[0], finished[unit]) for unit in wanted}


def _kept(layout: RunLayout, summary: PlanSummary, finished: set[UnitId]) -> set[UnitId]:
    """Finished units whose artifacts the run keeps, or will read."""
    config = read_run_config(layout)
    units: dict[str, dict[str, Unit]] = {stage: {} for stage in STAGES}
    for stage, shards in summary.shards.items():
        for name in shards:
            units[stage] |= {unit.id: unit for unit in Shard.read(layout.shard(stage, name)).units}
    known = known_results(layout)
    is_there = Presence(ArtifactStore(Path(config.store)), VideoShelf(layout.videos), known)
    read, _ = reading_units(units, known, is_there, config.store.keeps)
    return {unit for unit in finished if config.store.keeps(unit[0]) or unit in read}


def _awaited(layout: RunLayout, stage: str, name: str) -> Iterator[str]:
    """Keys under which a shard that is not finished will look for its units' artifacts."""
    shard = Shard.read(layout.shard(stage, name))
    try:
        settled = Settled.read(layout, shard)
    except StoreError:  # it cannot have begun
        return
    for unit in shard.units:
        if not settled.blocked(unit, optional=unit.upstream):
            yield settled.ready(unit, shard.revision).key


def shares_store(layout: RunLayout, store: Path) -> bool:
    """Whether a run keeps its artifacts in that store; assumed where it cannot be read."""
    try:
        return Path(read_run_config(layout).store).resolve() == store.resolve()
    except DisposeError:
        return True
