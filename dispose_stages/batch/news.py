"""What is new about a run since the last look, for those who watch it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes, ShardState
from dispose_stages.batch.stats import Attempt, Ending
from dispose_stages.batch.unit import Status, stage_of
from dispose_stages.config import STAGES


class EventKind(StrEnum):
    """What an event is about."""

    FAILED = "failed"
    """A unit has no result."""
    WARNING = "warning"
    """A unit has a result that somebody should look at."""
    JOB = "job"
    """A job ended without a ledger."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        subject: The pairs it concerns, first of the manifest first; of a job, its shard.
        code: Reason, warning or how the attempt ended.
        message: One line; may be empty.
    """

    kind: EventKind
    stage: str
    subject: tuple[str, ...]
    code: str
    message: str = ""


_ENDS = frozenset({Ending.BAD_NODE, Ending.GIVEN_UP, Ending.ERROR})


class News:
    """Remembers what was told; every event is told once.

    Args:
        since: Unix time at which the command began that watches; what earlier ones left is no news.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._told: set[tuple[object, ...]] = set()
        self._pairs: list[Row] = []
        self._names: dict[tuple[str, str], list[str]] = {}

    def of(self, outcomes: RunOutcomes) -> list[Event]:
        """All events that were not told yet, in order of the data flow."""
        shards = sorted(outcomes.shards, key=lambda shard: STAGES.index(shard.stage))
        found = (item for shard in shards for item in self._of_shard(shard))
        events = []
        for identity, event in found:
            if identity in self._told:
                continue
            self._told.add(identity)
            if event.kind is not EventKind.JOB:
                pairs = self.pairs_of(outcomes, event.stage, event.subject[0])
                event = replace(event, subject=pairs)  # noqa: PLW2901
            events.append(event)
        return events

    def pairs_of(self, outcomes: RunOutcomes, stage: str, unit: str) -> tuple[str, ...]:
        """Ids of the pairs that need a unit, in order of the manifest."""
        if outcomes.pairs is not self._pairs:
            self._pairs, self._names = outcomes.pairs, {}
            for pair in outcomes.pairs:
                for role, unit_id in pair.units.items():
                    names = self._names.setdefault((stage_of(role), unit_id), [])
                    names.append(pair.pair_id)
        return tuple(dict.fromkeys(self._names.get((stage, unit), ())))

    def _of_shard(self, shard: ShardState) -> Iterator[tuple[tuple[object, ...], Event]]:
        attempts = [a for a in shard.stats.attempts if a.started >= self._since]
        if attempts and shard.running is None:
            yield from _of_results(shard)
        yield from _of_lease(shard)
        for attempt in attempts:
            if attempt.outcome in _ENDS:
                identity = (shard.stage, shard.name, attempt.started)
                yield identity, _of_attempt(shard, attempt)


def _of_results(shard: ShardState) -> Iterator[tuple[tuple[object, ...], Event]]:
    for unit, result in shard.results.items():
        if result.status is Status.FAILED:
            code = str(result.reason)
            event = Event(EventKind.FAILED, shard.stage, (unit,), code, result.message)
            yield (shard.stage, unit, code), event
        for warning in result.warnings:
            yield (
                (shard.stage, unit, warning),
                Event(EventKind.WARNING, shard.stage, (unit,), warning),
            )


def _of_lease(shard: ShardState) -> Iterator[tuple[tuple[object, ...], Event]]:
    """Failures of a job that has no ledger yet; another process's words."""
    told = (shard.running or {}).get("told")
    for item in told if isinstance(told, list) else ():
        if isinstance(item, list) and len(item) == 3:
            unit, code, message = map(str, item)
            event = Event(EventKind.FAILED, shard.stage, (unit,), code, message)
            yield (shard.stage, unit, code), event


def _of_attempt(shard: ShardState, attempt: Attempt) -> Event:
    where = f"on {attempt.host}" + (f", job {attempt.job}" if attempt.job else "")
    return Event(EventKind.JOB, shard.stage, (shard.name,), str(attempt.outcome), where)
