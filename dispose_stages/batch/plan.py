"""Rows → units → shards: what a run consists of, known before anything runs.

Each stage says in its ``unit.py`` which unit a row needs of it and what that is made from, so rows
that agree in these share it. Units go to *shards* (jobs) by a stable hash, so adding rows changes
few shards; the number of shards is a power of two, so a shard of a finer stage lies inside one of
a coarser. Where it is known what units cost (`Priors`), shards of about equal cost take the place
of shards of about equal number.

Planning reads the manifest only: no media, no weights, no torch. What a unit's artifact is called
(its *key*) follows from content digests and is worked out by the job
(`dispose_stages.batch.ledger`).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.pilot import chosen_rows, released_units
from dispose_stages.batch.priors import Priors
from dispose_stages.batch.sharding import (
    ROUTE_BITS,
    Prefix,
    cut,
    prefix_of,
    settle_shard_count,
    shard_among,
    shard_count,
    shard_name,
)
from dispose_stages.batch.unit import RowPlan, Unit, stage_of, unit_maker
from dispose_stages.config import GPU_STAGES, STAGES, Config

_SHARED_BITS = 4
"""Leading bits of a clip's route that it shares with its motion unit, in a run of many clips."""
_MANY_CLIPS = 64


@dataclass(slots=True)
class Plan:
    """All units of a run, by stage and id, in order of first use; and the rows that need them."""

    units: dict[str, dict[str, Unit]] = field(default_factory=lambda: {s: {} for s in STAGES})
    rows: list[Row] = field(default_factory=list)
    shard_counts: dict[str, int] = field(default_factory=dict)
    parts: dict[str, frozenset[Prefix]] = field(default_factory=dict)
    """Of the stages whose units are known to cost differently; the others have equal parts."""

    def shards(self, stage: str) -> dict[str, list[Unit]]:
        """Units of every shard of a stage that has any, both in stable order."""
        shards: dict[str, list[Unit]] = {}
        for unit in sorted(self.units[stage].values(), key=lambda u: (u.route, u.id)):
            shards.setdefault(self._shard(stage, unit.route), []).append(unit)
        return shards

    def shard_of(self, stage: str, unit_id: str) -> str:
        """Name of the shard that computes a unit."""
        return self._shard(stage, self.units[stage][unit_id].route)

    def _shard(self, stage: str, route: int) -> str:
        if stage in self.parts:
            return shard_among(route, self.parts[stage])
        return shard_name(route, self.shard_counts[stage])


def revision(stage: str) -> int:
    """Revision of a stage's code, without importing what it computes with."""
    return int(importlib.import_module(f"dispose_stages.{stage}.unit").REVISION)


def build_plan(
    config: Config,
    manifest: Manifest,
    *,
    stamps: Mapping[str, Mapping[str, str]] | None = None,
    previous_counts: Mapping[str, int] | None = None,
    settled: Mapping[str, Collection[str]] | None = None,
    priors: Priors | None = None,
    former: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """All units of a run and the shards of each stage.

    Args:
        stamps: Stage to unit id (or ``*``) to token, renewed by forced re-runs.
        previous_counts: Shards per stage of the last plan of this run.
        settled: Stage to units that earlier commands brought to an end; a pilot keeps them.
        priors: What units are known to cost.
        former: Stage to names of the shards of the last plan; a pilot joins none of them.

    Raises:
        ManifestError: A pilot asks for a row that cannot run.
    """
    planners = [importlib.import_module(f"dispose_stages.{stage}.unit").plan for stage in STAGES]
    clips = len({(row.reference_image, row.driving_video) for row in manifest.rows})
    route = _route_of_many if clips >= _MANY_CLIPS else _route_of_few
    plan, make_unit = Plan(), unit_maker(stamps or {}, route)
    for row in manifest.rows:
        needed = RowPlan(row, config, make_unit)
        for add_units in planners:
            add_units(needed)
        for unit in needed.units.values():
            plan.units[unit.stage].setdefault(unit.id, unit)
        roles = {role: unit.id for role, unit in needed.units.items()}
        plan.rows.append(replace(row, units=roles))
    if config.pilot.chosen:
        chosen = chosen_rows(config.pilot, manifest)
        none: dict[str, Collection[str]] = dict.fromkeys(STAGES, ())
        plan.units = released_units(plan.units, plan.rows, chosen, settled or none)
        plan.rows = [replace(row, held=row.pair_id not in chosen) for row in plan.rows]
    for stage in STAGES:
        plan.shard_counts[stage] = _shards_of(plan, stage, config, previous_counts or {})
    for stage, costs in _costs(plan, priors or Priors()).items():
        kept = map(prefix_of, (former or {}).get(stage, ())) if config.pilot.chosen else ()
        seconds, most = minutes_of_job(config, stage) * 60, config.shards.maximum
        plan.parts[stage] = cut(costs, seconds, most, frozenset(kept))
        plan.shard_counts[stage] = len(plan.parts[stage])
    return plan


def minutes_of_job(config: Config, stage: str) -> float:
    """Aimed computing time of a job, all its processes together."""
    processes = config.compute.gpus_per_job if stage in GPU_STAGES else 1
    return config.shards.minutes * processes


def _costs(plan: Plan, priors: Priors) -> dict[str, list[tuple[int, float]]]:
    """Route and seconds of every unit of the stages of which that is known."""
    found: dict[str, dict[str, float]] = {stage: {} for stage in priors.seconds}
    for row in plan.rows if found else ():
        for role, unit in row.units.items():
            stage = stage_of(role)
            if stage in found and unit not in found[stage] and unit in plan.units[stage]:
                found[stage][unit] = priors.cost(row, role) or 0.0
    return {
        stage: [(plan.units[stage][unit].route, seconds) for unit, seconds in costs.items()]
        for stage, costs in found.items()
        if costs
    }


def _shards_of(plan: Plan, stage: str, config: Config, previous: Mapping[str, int]) -> int:
    wanted = shard_count(
        len(plan.units[stage]),
        config.shards.seconds_per_unit.get(stage, 1.0),
        minutes_of_job(config, stage),
        config.shards.maximum,
    )
    settled = settle_shard_count(wanted, previous.get(stage))
    # A pilot after the whole leaves the whole's jobs as they are.
    return max(settled, previous.get(stage, 1)) if config.pilot.chosen else settled


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _route_of_few(near: str, apart: str) -> int:
    """In a run of few clips with many seeds each, neighbours would crowd into few shards."""
    return _hash64(f"{near}\0{apart}" if apart else near)


def _route_of_many(near: str, apart: str) -> int:
    """Neighbours share the leading bits: a shard of ``sample`` waits for one of ``motion``."""
    if not apart:
        return _hash64(near)
    low = ROUTE_BITS - _SHARED_BITS
    return (_hash64(near) >> low << low) | (_hash64(f"{near}\0{apart}") >> _SHARED_BITS)


def upstream_shards(plan: Plan, units: Iterable[Unit]) -> dict[str, list[str]]:
    """Stage to sorted names of the shards that hold what these units read."""
    needed: dict[str, set[str]] = {}
    for stage, unit_id in {reference for unit in units for reference in unit.upstream.values()}:
        needed.setdefault(stage, set()).add(plan.shard_of(stage, unit_id))
    return {stage: sorted(names) for stage, names in sorted(needed.items())}
