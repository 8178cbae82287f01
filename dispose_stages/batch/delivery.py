"""What came out of a run, for the last lines of a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Status
from dispose_stages.errors import StoreError


def delivery_lines(outcomes: RunOutcomes) -> Iterator[str]:
    """How the rows stand, and where everything lies."""
    layout, rows = outcomes.layout, outcomes.counts()
    yield str(rows)
    for reason, failed in sorted(outcomes.failures().items()):
        yield f"  {len(failed)} failed: {reason}"
    for message, count in waiting_units(layout, outcomes.summary).items():
        yield f"  {count} units wait: {message}"
    if rows.rejected:
        yield f"  {rows.rejected} rejected: {layout.rejects}"
    for code, count in sorted(outcomes.warned().items()):
        yield f"  {count} with a warning: {code}"
    yield f"videos: {layout.videos}"
    if layout.report.exists():
        yield f"report: {layout.report}"


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
