"""The last lines of `dispose run`: what came out, what did not and what to do, where to look."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dispose_stages.batch.delivery import ending_lines
from dispose_stages.batch.outcomes import Outcome, RunOutcomes
from dispose_stages.explanations import REASONS
from dispose_stages.wording import duration, named, one_line, wrapped

_WIDEST = 100
_INDENT = "    "


def closing_lines(
    outcomes: RunOutcomes, seconds: float, since: float, width: int = 100
) -> Iterator[str]:
    """All of them.

    Args:
        seconds: How long the command took.
        since: Unix time at which it began.
        width: Of what shows them; paths and names may be longer.
    """
    hours = gpu_hours(outcomes, since)
    used = f", {hours:.2f} GPU hours" if hours else ""
    yield f"{outcomes.counts()} in {duration(seconds)}{used}"
    for reason, failed in outcomes.failures().items():
        again = f"dispose retry {shlex.quote(str(outcomes.layout.root))} --reason {reason}"
        yield from _group(reason, failed, again, min(width, _WIDEST))
    yield from ending_lines(outcomes)


def _group(reason: str, failed: list[Outcome], again: str, width: int) -> Iterator[str]:
    pairs = named([outcome.pair.pair_id for outcome in failed])
    stages = ", ".join(dict.fromkeys(outcome.stage for outcome in failed))
    yield f"  {len(failed)} failed in {stages}: {reason} ({pairs})"
    messages = list(dict.fromkeys(outcome.message for outcome in failed))
    yield from wrapped(one_line(messages[0]), width, _INDENT)
    if explanation := REASONS.get(reason):
        yield from wrapped(explanation.remedy, width, _INDENT)
    yield f"{_INDENT}then {again}"


def gpu_hours(outcomes: RunOutcomes, since: float) -> float:
    """Time on a GPU of all attempts that began since then."""
    attempts = (attempt for shard in outcomes.shards for attempt in shard.stats.attempts)
    return sum(a.seconds for a in attempts if a.device == "cuda" and a.started >= since) / 3600
