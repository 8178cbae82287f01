"""Does what the ledgers say still hold?

A ledger names artifacts that someone may have deleted since, and speaks of the units its shard
had when it was written. Folders of artifacts are listed, not single files looked up, and sidecars
of videos read by several threads: 10,000 pairs take well under two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.unit import Status
from dispose_stages.errors import StoreError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import VideoShelf

STORED_STAGES = ("pose", "motion", "correspondence", "sample", "score")
"""Stages that keep their results in the artifact store; `mux` delivers files, `ingest` facts."""

_READERS = 16

ShardId = tuple[str, str]


def audit_ledgers(
    layout: RunLayout,
    store: ArtifactStore,
    units: Mapping[ShardId, Iterable[str]],
) -> tuple[list[ShardId], list[ShardId]]:
    """Compare all ledgers of a run with the store and with the plan.

    Args:
        layout: Of the run.
        store: Where its artifacts are kept.
        units: (stage, shard) to ids of the units the plan gives it.

    Returns:
        *Lost* shards, with a finished unit whose result is gone; and *stale* ones, whose ledger
        cannot be read or speaks of other units.
    """
    lost, stale = [], []
    present: dict[str, frozenset[str]] = {}
    videos: dict[ShardId, dict[str, str]] = {}
    for (stage, shard), ids in units.items():
        path = layout.ledger(stage, shard)
        if not path.exists():
            continue
        try:
            entries = Ledger.read(path).units
        except StoreError:
            stale.append((stage, shard))
            continue
        if set(entries) != set(ids):
            stale.append((stage, shard))
            continue
        done = {unit: r.key for unit, r in entries.items() if r.status is Status.DONE}
        if stage == "mux":
            videos[stage, shard] = done
        elif stage in STORED_STAGES:
            if stage not in present:
                present[stage] = frozenset(store.keys(stage))
            if not present[stage].issuperset(done.values()):
                lost.append((stage, shard))
    return lost + _undelivered(VideoShelf(layout.videos), videos), stale


def _undelivered(shelf: VideoShelf, videos: Mapping[ShardId, Mapping[str, str]]) -> list[ShardId]:
    """Shards with a video that is gone, of another size, or without its own sidecar."""
    wanted = [(i, pair_id, key) for i, done in videos.items() for pair_id, key in done.items()]
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda each: shelf.find(each[1], each[2]) is not None, wanted)
        return sorted({i for (i, _, _), there in zip(wanted, found, strict=True) if not there})
