"""Part of a manifest first: which rows may run, and which units are held back for it.

The plan is that of the whole manifest, so that ids, keys and routes stay when the rest follows.
Only the units differ that shards hold: those of chosen rows, and those that earlier commands have
brought to an end. Nothing that was delivered is forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import results_in
from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.unit import Status, Unit, stage_of
from dispose_stages.config import STAGES
from dispose_stages.config_limits import Pilot
from dispose_stages.errors import ManifestError
from dispose_stages.wording import did_you_mean

_SETTLED = (Status.DONE, Status.FAILED, Status.BLOCKED)


def chosen_rows(pilot: Pilot, manifest: Manifest) -> frozenset[str]:
    """Ids of the pairs that may run.

    Raises:
        ManifestError: A row that is asked for does not exist or cannot run.
    """
    rows = manifest.rows
    if pilot.only:
        _check_ids(pilot.only, manifest)
        return frozenset(pilot.only)
    if pilot.sample is not None:
        rows = tuple(sorted(rows, key=lambda row: _lot(pilot.seed, row.pair_id)))[: pilot.sample]
    return frozenset(row.pair_id for row in rows[: pilot.first])


def _lot(seed: int, pair_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{pair_id}".encode()).digest()


def _check_ids(wanted: Sequence[str], manifest: Manifest) -> None:
    known = {row.pair_id for row in manifest.rows}
    rejected = {problem.pair_id: problem for problem in manifest.problems}
    for pair_id in (name for name in wanted if name not in known):
        if problem := rejected.get(pair_id):
            where = f"line {problem.line}"
            raise ManifestError(f"pair {pair_id} cannot run: {where}: {problem.reason}")
        raise ManifestError(f"the manifest has no pair {pair_id!r}{did_you_mean(pair_id, known)}")


def settled_units(layout: RunLayout) -> dict[str, set[str]]:
    """Units of earlier commands, by stage, that came to a result, good or bad."""
    settled: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for (stage, unit), result in results_in(layout.existing(layout.ledger, *STAGES)).items():
        if result.status in _SETTLED:
            settled[stage].add(unit)
    return settled


def released_units(
    units: Mapping[str, Mapping[str, Unit]],
    rows: Sequence[Row],
    chosen: Collection[str],
    settled: Mapping[str, Collection[str]],
) -> dict[str, dict[str, Unit]]:
    """The units that are not held back, by stage, in the order of `units`."""
    wanted = {
        (stage_of(role), unit)
        for row in rows
        if row.pair_id in chosen
        for role, unit in row.units.items()
    }
    released: dict[str, dict[str, Unit]] = {}
    for stage in STAGES:  # upstream first
        released[stage] = {
            name: unit
            for name, unit in units[stage].items()
            if (stage, name) in wanted
            or (
                name in settled[stage]
                and all(above in released[of] for of, above in unit.upstream.values())
            )
        }
    return released
