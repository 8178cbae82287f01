"""Which artifacts runs still want: those their ledgers name, and those their jobs will look for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dispose_stages.batch.audit import STORED_STAGES
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard, artifact_key, read_upstream
from dispose_stages.batch.run_files import read_run_config, read_stage_weights
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Status
from dispose_stages.errors import DisposeError, StoreError


def runs_beside(run_dirs: tuple[Path, ...]) -> Iterator[RunLayout]:
    """All planned runs in the folders of these runs, each once."""
    folders = {run_dir.resolve().parent for run_dir in run_dirs}
    for folder in sorted(folders):
        for root in sorted(folder.iterdir()):
            layout = RunLayout(root)
            if layout.summary.exists():
                yield layout


def needed_artifacts(layout: RunLayout) -> set[tuple[str, str]]:
    """Stage and key of everything a run wants, whether it is there or not.

    Raises:
        StoreError: The run cannot be read, so that nothing can be said of it.
    """
    summary = PlanSummary.read(layout.summary)
    needed: set[tuple[str, str]] = set()
    for stage in STORED_STAGES:
        for name in summary.shards[stage]:
            if layout.ledger(stage, name).exists():
                results = Ledger.read(layout.ledger(stage, name)).units.values()
                needed |= {(stage, r.key) for r in results if r.status is Status.DONE}
            else:
                needed |= {(stage, key) for key in _awaited(layout, stage, name)}
    return needed


def _awaited(layout: RunLayout, stage: str, name: str) -> Iterator[str]:
    """Keys under which a shard that is not finished will look for its units' artifacts."""
    shard = Shard.read(layout.shard(stage, name))
    try:
        upstream = read_upstream(layout, shard)
        weights = read_stage_weights(layout, stage)
    except StoreError:  # it cannot have begun
        return
    for unit in shard.units:
        results = {
            role: upstream.get(of, {}).get(unit_id) for role, (of, unit_id) in unit.upstream.items()
        }
        contents = {role: r.content for role, r in results.items() if r and r.content}
        if len(contents) == len(results):
            yield artifact_key(unit, revision=shard.revision, weights=weights, upstream=contents)


def shares_store(layout: RunLayout, store: Path) -> bool:
    """Whether a run keeps its artifacts in that store; assumed where it cannot be read."""
    try:
        return Path(read_run_config(layout).store).resolve() == store.resolve()
    except DisposeError:
        return True
