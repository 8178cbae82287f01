"""What came out of a run, for the last lines and the exit status of a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.outcomes import PairStatus, RowCounts, RunOutcomes


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
    """

    layout: RunLayout
    rows: RowCounts
    reasons: Mapping[str, int]

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
        if self.rows.rejected:
            yield f"  {self.rows.rejected} rejected: {self.layout.rejects}"
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
    return Delivery(layout, outcomes.counts(), Counter(failed))
