"""Requests of the command line to compute something again; the next `snakemake` honours them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dispose_stages.batch.audit import ShardId
from dispose_stages.batch.control import standing_requests
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.run_files import read_pairs
from dispose_stages.batch.run_lock import RunLock
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Status, stage_of
from dispose_stages.config import STAGES
from dispose_stages.errors import ManifestError, Reason, StoreError


def renew_stamps(layout: RunLayout, stage: str, pair_ids: Collection[str] | None = None) -> int:
    """Make a stage's units stale once: all, or those that some pairs need.

    Args:
        layout: Of a run that was planned before.
        pair_ids: Whose units; None for all.

    Returns:
        Number of units, 0 standing for all.

    Raises:
        ManifestError: The run has no such pair.
        StoreError: The run was never planned.
        RunBusyError: Another process works on it.
    """
    units = None if pair_ids is None else units_of(layout, stage, pair_ids)
    with RunLock(layout.run_lock):
        standing_requests(layout)[0].with_stamp(stage, units).write(layout.control)
    return len(units or ())


def units_of(layout: RunLayout, stage: str, pair_ids: Iterable[str]) -> list[str]:
    """A stage's units that some pairs need.

    Raises:
        ManifestError: The run has no such pair.
        StoreError: The run was never planned.
    """
    wanted, known = set(pair_ids), {row.pair_id: row.units for row in read_pairs(layout)}
    if unknown := sorted(wanted - known.keys()):
        raise ManifestError(f"{layout.root} has no pair {', '.join(unknown)}")
    return sorted(
        {u for pair in wanted for role, u in known[pair].items() if stage_of(role) == stage}
    )


def reopen_failed(
    layout: RunLayout,
    stages: Collection[str] | None = None,
    reasons: Collection[Reason] | None = None,
) -> dict[ShardId, list[str]]:
    """Let the shards of failed units run again; finished units stay as they are.

    Args:
        stages: Look at these only.
        reasons: Look at failures with these reasons only.

    Returns:
        (stage, shard) to the units that will be tried again.

    Raises:
        StoreError: The run was never planned.
        RunBusyError: Another process works on it.
    """
    found = failed_units(layout, stages, reasons)
    reopen(layout, found)
    return found


def reopen(layout: RunLayout, shards: Collection[ShardId]) -> None:
    """Let (stage, shard)s run again; finished units whose results are valid stay as they are.

    Raises:
        RunBusyError: Another process works on the run.
    """
    if shards:
        with RunLock(layout.run_lock):
            standing_requests(layout)[0].reopened(shards).write(layout.control)


def failed_units(
    layout: RunLayout,
    stages: Collection[str] | None = None,
    reasons: Collection[Reason] | None = None,
) -> dict[ShardId, list[str]]:
    """What `reopen_failed` would open; arguments and result as there.

    Raises:
        StoreError: The run was never planned.
    """
    found: dict[ShardId, list[str]] = {}
    plan = PlanSummary.read(layout.summary)
    for stage in (s for s in STAGES if stages is None or s in stages):
        for shard in plan.shards[stage]:
            failed = _failed_units(layout, stage, shard, reasons)
            if failed:
                found[stage, shard] = failed
    return found


def _failed_units(
    layout: RunLayout, stage: str, shard: str, reasons: Collection[Reason] | None
) -> list[str]:
    try:
        entries = Ledger.read(layout.ledger(stage, shard)).units
    except StoreError:  # not finished: it will run anyway
        return []
    return [
        unit
        for unit, entry in entries.items()
        if entry.status is Status.FAILED and (reasons is None or entry.reason in reasons)
    ]
