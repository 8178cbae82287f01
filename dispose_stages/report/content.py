"""What a report says, free of where it comes from and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import Outcome, RowCounts
from dispose_stages.batch.scores import variant_of
from dispose_stages.report.columns import Table
from dispose_stages.report.metrics import Distribution


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


@dataclass(frozen=True, slots=True)
class RunReport:
    """The page, without its rows.

    Attributes:
        folder: Of the run, as commands take it.
        bundle: Which checkpoints were used.
        rows: How the rows of the manifest stand.
        table: What pairs can be found and sorted by.
        common: Parameters that are the same for all pairs.
        failures: Reason to number of pairs, the commonest first.
        examples: Reason to the first of these pairs.
        warned: Warnings with the numbers of their pairs, the commonest first.
        distributions: Of scores, and of what detection and alignment gave.
        unscored: Metrics without a single value, and groups that failed as a whole: why, how often.
        comparable: Groups of pairs that differ in their variant only: what they have in common, and
            variant to position.
        timings: In the order of the data flow.
        rejects: Why the other rows were set aside.
        configuration: The run's settings as text.
    """

    run: str
    folder: str
    version: str
    bundle: str
    rows: RowCounts
    table: Table
    common: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[PairReport]] = field(default_factory=dict)
    warned: Sequence[tuple[str, int]] = ()
    distributions: Sequence[Distribution] = ()
    unscored: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    comparable: Sequence[tuple[str, Mapping[str, int]]] = ()
    timings: Sequence[StageTiming] = ()
    rejects: Sequence[RowProblem] = ()
    configuration: str = ""
