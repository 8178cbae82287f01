"""What a report says, free of where it comes from and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from dispose_stages.batch.outcomes import Outcome
from dispose_stages.batch.scores import variant_of


@dataclass(frozen=True, slots=True)
class PairReport:
    """One row.

    Attributes:
        outcome: The row, and how it stands.
        parameters: Name to value as text, of everything a row may set.
        seconds: Role to seconds that its unit took; other pairs may share the unit.
        facts: Numbers about detection and alignment.
        scores: Metric to value of the clip.
        missing: Metric to the reason why it has none.
        warnings: Codes of what is to be looked at.
        log: Of the job that failed, relative to the page.
        video: Of what was delivered, as the page's script takes it.
    """

    outcome: Outcome
    parameters: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    log: str = ""
    video: Mapping[str, Any] | None = None

    @property
    def variant(self) -> str:
        """Full DisPose or which ablation."""
        return variant_of(self.outcome.pair.parameters)

    @property
    def failed_in(self) -> str:
        """Stage in which it failed."""
        return self.outcome.stage if self.outcome.reason else ""


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What a stage took, over all its jobs.

    Attributes:
        jobs: Number of jobs with statistics.
        found: Units whose result was there already.
        failed: Units that failed here.
        seconds: Per computed unit.
        load_seconds: Spent loading networks.
    """

    stage: str
    jobs: int
    found: int
    failed: int
    seconds: Sequence[float]
    load_seconds: float

    @property
    def computed(self) -> int:
        """Units computed."""
        return len(self.seconds)

    @property
    def total(self) -> float:
        """Seconds over all units, without loading."""
        return sum(self.seconds)

    @property
    def median(self) -> float | None:
        """Seconds of the unit in the middle."""
        return median(self.seconds) if self.seconds else None
