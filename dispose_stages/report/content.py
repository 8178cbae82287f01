"""What a report says, free of where it comes from and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import PairStatus, RowCounts
from dispose_stages.report.columns import Table
from dispose_stages.report.metrics import Distribution
from dispose_stages.report.panels import Preview


@dataclass(frozen=True, slots=True)
class Video:
    """A delivered video.

    Attributes:
        link: Path relative to the page.
        fps: Frame rate.
        width: Pixels.
        height: Pixels.
    """

    link: str
    frames: int
    fps: float
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PairReport:
    """One row.

    Attributes:
        reference_image: Path as in the manifest.
        driving_video: Path as in the manifest.
        variant: Full DisPose or which ablation.
        parameters: Name to value as text, of everything a row may set.
        extra: Cells of the manifest's columns that decide nothing.
        seconds: Role to seconds that its unit took; other pairs may share the unit.
        facts: Numbers about detection and alignment.
        scores: Metric to value of the clip.
        missing: Metric to the reason why it has none.
        warnings: Codes of what is to be looked at.
        reason: Typed reason of a failure.
        message: One line about a failure.
        failed_in: Stage in which it failed.
        log: Of the job that failed, relative to the page.
    """

    pair_id: str
    line: int
    reference_image: str
    driving_video: str
    status: PairStatus
    variant: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    reason: str = ""
    message: str = ""
    failed_in: str = ""
    log: str = ""
    video: Video | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """Pairs that failed for one reason."""

    reason: str
    count: int
    examples: Sequence[PairReport]


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
class Comparison:
    """Rows that differ in their variant only.

    Attributes:
        label: Reference and driver.
        rows: Variant to position among the pairs.
        preview: Results of all of them side by side.
    """

    label: str
    rows: Mapping[str, int]
    preview: Preview


@dataclass(frozen=True, slots=True)
class RunReport:
    """The page, without its rows.

    Attributes:
        folder: Of the run, as commands take it.
        bundle: Which checkpoints were used.
        rows: How the rows of the manifest stand.
        table: What pairs can be found and sorted by.
        common: Parameters that are the same for all pairs.
        failures: The commonest reason first.
        warned: Warnings with the numbers of their pairs, the commonest first.
        distributions: Of scores, and of what detection and alignment gave.
        unscored: Metrics without a single value, and groups that failed as a whole: why, how often.
        comparable: Groups of pairs that differ in their variant only: variant to position.
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
    failures: Sequence[Failures] = ()
    warned: Sequence[tuple[str, int]] = ()
    distributions: Sequence[Distribution] = ()
    unscored: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    comparable: Sequence[Mapping[str, int]] = ()
    timings: Sequence[StageTiming] = ()
    rejects: Sequence[RowProblem] = ()
    configuration: str = ""
