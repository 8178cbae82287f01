"""What came out of a run, for the last lines and the exit status of a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.outcomes import PairStatus, RowCounts, RunOutcomes
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Status
from dispose_stages.errors import StoreError


class Extent(StrEnum):
    """How much of a run was delivered."""

    ALL = "all"
    SOME = "some"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the rows of a run stand.

    Attributes:
        layout: Of the run.
        rows: How many stand how.
        reasons: Of those that failed.
        warned: Warning to number of pairs.
        waiting: What units that a job left undone wait for, and how many.
    """

    layout: RunLayout
    rows: RowCounts
    reasons: Mapping[str, int]
    warned: Mapping[str, int]
    waiting: Mapping[str, int] = field(default_factory=dict)

    @property
    def extent(self) -> Extent:
        """All, some or none of the rows, rejected ones included."""
        if self.rows.delivered == self.rows.total:
            return Extent.ALL
        return Extent.SOME if self.rows.delivered else Extent.NONE

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield str(self.rows)
        for reason, count in sorted(self.reasons.items()):
            yield f"  {count} failed: {reason}"
        for message, count in self.waiting.items():
            yield f"  {count} units wait: {message}"
        if self.rows.rejected:
            yield f"  {self.rows.rejected} rejected: {self.layout.rejects}"
        for code, count in sorted(self.warned.items()):
            yield f"  {count} with a warning: {code}"
        yield f"videos: {self.layout.videos}"
        if self.layout.report.exists():
            yield f"report: {self.layout.report}"


def read_delivery(layout: RunLayout) -> Delivery:
    """Count over plan and ledgers.

    Raises:
        StoreError: The run was never planned.
    """
    outcomes = RunOutcomes.read(layout.root)
    failed = (o.reason for o in outcomes.pair_outcomes() if o.status is PairStatus.FAILED)
    waiting = waiting_units(layout, outcomes.summary)
    return Delivery(layout, outcomes.counts(), Counter(failed), outcomes.warned(), waiting)


def waiting_units(layout: RunLayout, plan: PlanSummary) -> Counter[str]:
    """What jobs that stopped early left their units with, and how many units."""
    messages: Counter[str] = Counter()
    for stage, shards in plan.shards.items():
        for shard in shards:
            if layout.partial(stage, shard).exists() and not layout.ledger(stage, shard).exists():
                with suppress(StoreError):
                    results = Ledger.read(layout.partial(stage, shard)).units.values()
                    messages.update(r.message for r in results if r.status is Status.PENDING)
    return messages
