"""Does what the ledgers say still hold?

A ledger names artifacts that someone may have deleted since, and speaks of the units its shard
had when it was written. Folders of artifacts are listed, not single files looked up, and sidecars
of videos read by several threads: 10,000 pairs take well under two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.retention import known_results, reading_units
from dispose_stages.batch.unit import Result, Status, Unit, UnitId
from dispose_stages.config import STAGES, STORED_STAGES
from dispose_stages.errors import StoreError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import VideoShelf

_READERS = 16

ShardId = tuple[str, str]


class Presence:
    """Which results lie where they should: a folder is listed once, a sidecar read once.

    Args:
        results: All that will be asked for; their videos are looked for by several threads.
    """

    def __init__(
        self, store: ArtifactStore, shelf: VideoShelf, results: Mapping[UnitId, Result]
    ) -> None:
        self._store = store
        self._keys: dict[str, frozenset[str]] = {}
        wanted = [(name, r.key) for (stage, name), r in results.items() if stage == "mux" and r.key]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda each: shelf.find(*each) is not None, wanted)
            self._videos = dict(zip(wanted, found, strict=True))

    def __call__(self, stage: str, unit: str, result: Result) -> bool:
        """Whether what came of a unit is there; facts of ``ingest`` stand in the ledger."""
        if stage == "mux":
            return self._videos.get((unit, result.key), False)
        if stage not in STORED_STAGES:
            return True
        if stage not in self._keys:
            self._keys[stage] = frozenset(self._store.keys(stage))
        return result.key in self._keys[stage]


def audit_ledgers(
    layout: RunLayout,
    store: ArtifactStore,
    units: Mapping[ShardId, Sequence[Unit]],
    keeps: Callable[[str], bool],
) -> tuple[list[ShardId], list[ShardId], dict[ShardId, dict[str, Result]]]:
    """Compare all ledgers of a run with the store and with the plan.

    Args:
        store: Where its artifacts are kept.
        units: (stage, shard) to the units the plan gives it.
        keeps: Whether artifacts of a stage are made again whether anything needs them or not.

    Returns:
        (stage, shard)s with a finished unit whose result is gone and must not be; those whose
        ledger cannot be read or speaks of other units; and (stage, shard) to what came of units
        whose artifacts may stay away.
    """
    done, stale = _read_ledgers(layout, units)
    known: dict[UnitId, Result] = {(i[0], u): r for i, found in done.items() for u, r in found}
    frees = not all(map(keeps, STORED_STAGES))
    if frees:
        known |= known_results(layout)
    is_there = Presence(store, VideoShelf(layout.videos), known)
    free: set[UnitId] = set()
    if frees:
        planned: dict[str, dict[str, Unit]] = {stage: {} for stage in STAGES}
        for (stage, _), of_shard in units.items():
            planned[stage] |= {unit.id: unit for unit in of_shard}
        _, free = reading_units(planned, known, is_there, keeps)
    lost = [
        i
        for i, found in done.items()
        if any((i[0], u) not in free and not is_there(i[0], u, r) for u, r in found)
    ]
    released = {
        i: found
        for i, of_shard in units.items()
        if (found := {u.id: known[i[0], u.id] for u in of_shard if (i[0], u.id) in free})
    }
    return lost, stale, released


def _read_ledgers(
    layout: RunLayout, units: Mapping[ShardId, Sequence[Unit]]
) -> tuple[dict[ShardId, list[tuple[str, Result]]], list[ShardId]]:
    """Finished units of every ledger that speaks of its shard's units; and the other ledgers."""
    done: dict[ShardId, list[tuple[str, Result]]] = {}
    stale: list[ShardId] = []
    for shard_id, of_shard in units.items():
        path = layout.ledger(*shard_id)
        if not path.exists():
            continue
        try:
            entries = Ledger.read(path).units
        except StoreError:
            stale.append(shard_id)
            continue
        if set(entries) != {unit.id for unit in of_shard}:
            stale.append(shard_id)
            continue
        done[shard_id] = [(u, r) for u, r in entries.items() if r.status is Status.DONE]
    return done, stale
