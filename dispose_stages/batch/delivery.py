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
from dispose_stages.wording import counted


def delivery_lines(outcomes: RunOutcomes) -> Iterator[str]:
    """How the rows stand, and where everything lies."""
    yield str(outcomes.counts())
    for reason, failed in sorted(outcomes.failures().items()):
        yield f"  {len(failed)} failed: {reason}"
    yield from ending_lines(outcomes)


def ending_lines(outcomes: RunOutcomes) -> Iterator[str]:
    """What is to be looked at beside failures, and where everything lies."""
    layout = outcomes.layout
    for message, count in waiting_units(layout, outcomes.summary).items():
        yield f"  {counted(count, 'unit')} left: {message}"
    if rejected := outcomes.counts().rejected:
        yield f"  {rejected} rejected, with line and reason in {layout.rejects}"
    for code, count in sorted(outcomes.warned().items()):
        yield f"  {count} with a warning: {code} (`dispose explain {code}`)"
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
