"""Which artifacts a run still reads, and what came of units whose artifacts were freed.

An artifact of a stage that the configuration does not keep (`store.keep`) is needed while a unit
that reads it is to be computed. What came of a unit outlives its artifact: planning notes it in
``released/``, because a ledger vanishes when its job begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import results_in
from dispose_stages.batch.unit import Result, Status, Unit, UnitId
from dispose_stages.config import STAGES


def known_results(layout: RunLayout) -> dict[UnitId, Result]:
    """What ledgers, of whatever plan, and notes on freed artifacts say of units."""
    released = layout.existing(layout.released, *STAGES)
    return results_in([*released, *layout.existing(layout.ledger, *STAGES)])


def reading_units(
    units: Mapping[str, Mapping[str, Unit]],
    known: Mapping[UnitId, Result],
    is_there: Callable[[str, str, Result], bool],
    keeps: Callable[[str], bool],
) -> tuple[set[UnitId], set[UnitId]]:
    """Walk a plan from its videos upwards.

    Args:
        units: By stage and id.
        known: What came of them.
        is_there: Whether the result of a unit (stage, id) lies where it should.
        keeps: Whether results of a stage are made again in any case.

    Returns:
        Units whose content is read by one that is to be computed; and units that came to a result
        that is gone, where nothing needs it.
    """
    read: set[UnitId] = set()
    free: set[UnitId] = set()
    for stage in reversed(STAGES):
        for name, unit in units[stage].items():
            result = known.get((stage, name))
            settled = result is not None and result.status is not Status.PENDING
            if settled and result is not None and result.status is Status.DONE:
                gone = stage != "ingest" and not is_there(stage, name, result)
                wanted = keeps(stage) or stage == "mux" or (stage, name) in read
                settled = not (gone and wanted)
                if gone and not wanted:
                    free.add((stage, name))
            if not settled:
                read.update(unit.upstream.values())
    return read, free
