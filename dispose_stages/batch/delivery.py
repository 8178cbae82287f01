"""What came out of a run, from the ledgers of its last stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
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
    """Numbers of pairs.

    Attributes:
        layout: Of the run.
        pairs: Wanted.
        delivered: With a video.
        reasons: Not delivered and why; pairs that no job has reached yet are not in here.
        rejects: Rows of the manifest that were set aside.
    """

    layout: RunLayout
    pairs: int
    delivered: int
    reasons: Mapping[str, int]
    rejects: int

    @property
    def pending(self) -> int:
        """Pairs that no job has reached yet."""
        return self.pairs - self.delivered - sum(self.reasons.values())

    @property
    def extent(self) -> Extent:
        """All, some or none of the rows, rejected ones included."""
        if self.delivered == self.pairs and not self.rejects:
            return Extent.ALL
        return Extent.SOME if self.delivered else Extent.NONE

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"{self.delivered} of {self.pairs} pairs delivered"
        for reason, count in sorted(self.reasons.items()):
            yield f"  {count} failed: {reason}"
        if self.pending:
            yield f"  {self.pending} not finished"
        if self.rejects:
            yield f"  {self.rejects} rows set aside: {self.layout.rejects}"
        yield f"videos: {self.layout.videos}"
        if self.layout.report.exists():
            yield f"report: {self.layout.report}"


def read_delivery(layout: RunLayout, plan: PlanSummary) -> Delivery:
    """Count over all ledgers of the last stage; absent ones count as not finished."""
    delivered = 0
    reasons: Counter[str] = Counter()
    for shard in plan.shards["mux"]:
        try:
            results = Ledger.read(layout.ledger("mux", shard)).units.values()
        except StoreError:
            continue
        for result in results:
            if result.status is Status.DONE:
                delivered += 1
            elif result.status is not Status.PENDING:
                reasons[str(result.reason)] += 1
    return Delivery(layout, plan.pairs, delivered, dict(reasons), plan.rejects)
