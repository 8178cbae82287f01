"""What a command would compute, unit by unit, and why; nothing is run or written.

A unit's key is known as far as the digests of what it reads are, from the ledgers and the store.
Where something upstream has to be computed first, what is below it counts as to be computed too,
for the same reason; it may turn out to be there (`docs/decisions/0001-keys-follow-content.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dispose_stages.batch.audit import ShardId
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Shard, artifact_key, results_in
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.plan import revision
from dispose_stages.batch.prepare import PreparedRun
from dispose_stages.batch.run_files import read_pairs, read_stage_weights
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status, Unit, stage_of
from dispose_stages.config import GPU_STAGES, STAGES, STORED_STAGES
from dispose_stages.errors import StoreError, WeightsError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.files import FileState
from dispose_stages.store.shelf import VideoShelf
from dispose_stages.weights.digests import DigestCache

CACHED = ""
"""Instead of a reason: the result is there."""
KEPT = "failed before, kept"
"""Instead of a reason: a failure stays what it is."""
NEW, LOST, FORCED = "new", "lost", "forced"


def computes(why: str) -> bool:
    """Whether a unit with this reason is computed."""
    return why not in {CACHED, KEPT}


class Former:
    """What earlier commands left of a run, as far as it can be read; damaged files count as absent.

    Attributes:
        units: (stage, id) to the unit as it was planned, with the revision of that plan.
        results: (stage, id) to what came of it.
        looked: File of ``ingest`` to when its ledger was written, nanoseconds.
        roles: Pair to its units.
        signature: Of the sizes and times of the checkpoint files.
        plans: Jobs as they were planned.
        weights: Stage to digest of its checkpoints.
    """

    def __init__(self, layout: RunLayout) -> None:
        self.units: dict[tuple[str, str], tuple[Unit, int]] = {}
        for path in layout.existing(layout.shard, *STAGES):
            with suppress(StoreError):
                shard = Shard.read(path)
                self.units |= {(shard.stage, u.id): (u, shard.revision) for u in shard.units}
        ledgers = layout.existing(layout.ledger, *STAGES)
        self.results = results_in(ledgers)
        self.looked: dict[str, int] = {}
        for path in (path for path in ledgers if path.parent.name == "ingest"):
            written = path.stat().st_mtime_ns
            self.looked |= {unit: written for _, unit in results_in([path])}
        self.roles: dict[str, Mapping[str, str]] = {}
        self.signature = ""
        self.plans: dict[ShardId, str] = {}
        with suppress(StoreError):
            self.roles = {row.pair_id: row.units for row in read_pairs(layout)}
            summary = PlanSummary.read(layout.summary)
            self.signature = summary.weights
            self.plans = {
                (stage, name): shard.plan
                for stage, shards in summary.shards.items()
                for name, shard in shards.items()
            }
        self.weights: dict[str, str] = {}
        with suppress(StoreError):
            self.weights = {s: read_stage_weights(layout, s) for s in GPU_STAGES}


def forecast(prepared: PreparedRun) -> dict[str, dict[str, str]]:
    """Why every unit would be computed, by stage and id; `CACHED` or `KEPT` where it would not."""
    return _Forecast(prepared).reasons()


class _Forecast:
    def __init__(self, prepared: PreparedRun) -> None:
        self._run = prepared
        self._former = Former(prepared.layout)
        self._store = ArtifactStore(Path(prepared.config.store))
        self._shelf = VideoShelf(prepared.layout.videos)
        same = self._former.signature == prepared.summary.weights and self._former.weights
        self._weights = self._former.weights if same else _known_weights(prepared)
        self._present = {stage: frozenset(self._store.keys(stage)) for stage in STORED_STAGES}
        self._released = {
            (stage, unit): result
            for (stage, _), results in prepared.released.items()
            for unit, result in results.items()
        }
        self._user = _first_users(prepared.plan.rows)
        self._found: dict[str, dict[str, str]] = {stage: {} for stage in STAGES}
        self._digests: dict[tuple[str, str], str] = {}
        """Of the results, where they are known."""

    def reasons(self) -> dict[str, dict[str, str]]:
        for stage in STAGES:  # upstream first
            for name, units in self._run.plan.shards(stage).items():
                plan = self._run.summary.shards[stage][name].plan
                again = plan != self._former.plans.get((stage, name))
                for unit in units:
                    why, digest = self._judged(unit, again=again)
                    self._found[stage][unit.id] = why
                    if digest is not None:
                        self._digests[stage, unit.id] = digest
        return self._found

    def _judged(self, unit: Unit, *, again: bool) -> tuple[str, str | None]:
        """Reason and digest of a unit, everything upstream being judged.

        Args:
            again: Its job runs in any case.
        """
        result = self._former.results.get((unit.stage, unit.id))
        if not again and result is not None and result.status in {Status.FAILED, Status.BLOCKED}:
            return KEPT, None
        for stage, name in unit.upstream.values():
            if (stage, name) not in self._digests:
                return self._found[stage][name], None
        if unit.stage == "ingest":
            return self._ingested(unit, result)
        digests = {role: self._digests[above] for role, above in unit.upstream.items()}
        weights = self._weights.get(unit.stage)
        if weights is None:
            return self._why(unit, result, ""), None
        now = revision(unit.stage)
        key = artifact_key(unit, revision=now, weights=weights, upstream=digests)
        digest = self._digest_of(unit, key, result)
        if digest is not None:
            return CACHED, digest
        lost = result is not None and result.status is Status.DONE and result.key == key
        return self._why(unit, result, key), result.digest if lost and result else None

    def _ingested(self, unit: Unit, result: Result | None) -> tuple[str, str | None]:
        """Of a file: known while it is older than what was said of it."""
        if result is None or result.status is not Status.DONE:
            return ("failed before" if result is not None else NEW), None
        former = self._former.units.get((unit.stage, unit.id))
        if former is not None and former[0].stamp != unit.stamp:
            return FORCED, None
        state = FileState.of(unit.source("media"))
        looked = self._former.looked[unit.id]
        if state is None or max(state.modified_ns, state.changed_ns) > looked:
            return "changed file", None
        return CACHED, result.digest

    def _digest_of(self, unit: Unit, key: str, result: Result | None) -> str | None:
        """Digest of the unit's result if it is there."""
        if unit.stage == "mux":
            return self._shelf.digest(unit.id, key)
        if key not in self._present[unit.stage]:
            freed = self._released.get((unit.stage, unit.id))
            return freed.digest if freed is not None and freed.key == key else None
        if result is not None and result.status is Status.DONE and result.key == key:
            return result.digest
        return self._store.digest(unit.stage, key)

    def _why(self, unit: Unit, result: Result | None, key: str) -> str:
        known = self._former.units.get((unit.stage, unit.id))
        if known is None:
            return self._what_differs(unit)
        former, revised = known
        now = revision(unit.stage)
        causes = {
            FORCED: former.stamp != unit.stamp,
            NEW: result is None,
            "failed before": result is not None and result.status is not Status.DONE,
            f"revision {revised}→{now}": revised != now,
            "weights": self._weights.get(unit.stage) != self._former.weights.get(unit.stage),
            LOST: result is not None and result.key == key,
        }
        return next((why for why, holds in causes.items() if holds), "what it reads")

    def _what_differs(self, unit: Unit) -> str:
        """From the unit that its first pair had instead, in the last plan."""
        pair_id, role = self._user[unit.stage, unit.id]
        former = self._former.units.get(
            (unit.stage, self._former.roles.get(pair_id, {}).get(role, ""))
        )
        if former is None:
            return NEW
        before, after = former[0], unit
        names = sorted(before.params.keys() | after.params.keys())
        changed = [n for n in names if before.params.get(n) != after.params.get(n)]
        if changed:
            return f"parameter {', '.join(changed)}"
        if before.sources != after.sources:
            return "source"
        reasons = (self._found[of][name] for of, name in unit.upstream.values())
        return next(filter(computes, reasons), "what it reads")


def _first_users(rows: list[Row]) -> dict[tuple[str, str], tuple[str, str]]:
    users: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        for role, unit in row.units.items():
            users.setdefault((stage_of(role), unit), (row.pair_id, role))
    return users


def _known_weights(prepared: PreparedRun) -> Mapping[str, str]:
    """Digests of the checkpoints of stages, as far as their files need not be read for it."""
    cache = DigestCache(Path(prepared.config.store) / "weights.json")
    known: dict[str, str] = {}
    for stage in GPU_STAGES:
        with suppress(WeightsError):
            digest = cache.known_digest(prepared.config.models.folder, stage)
            if digest is not None:
                known[stage] = digest
    return known
