"""What a report says, free of where it comes from and how it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import PairStatus, RowCounts


@dataclass(frozen=True, slots=True)
class Picture:
    """An image within the page.

    Attributes:
        data: The encoded file.
        media_type: E.g. ``image/webp``.
        width: Pixels.
        height: Pixels.
        text: What it shows, for those who do not see it.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    text: str


@dataclass(frozen=True, slots=True)
class Video:
    """A delivered video.

    Attributes:
        link: Path relative to the page.
        frames: Number of frames.
        fps: Frame rate.
        width: Pixels.
        height: Pixels.
        size_bytes: Of the file.
        data: The file itself if it is to play without its neighbour; None links to it.
    """

    link: str
    frames: int
    fps: float
    width: int
    height: int
    size_bytes: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class PairReport:
    """One row.

    Attributes:
        pair_id: The pair's name.
        line: Of the manifest.
        reference_image: Path as in the manifest.
        driving_video: Path as in the manifest.
        status: How it stands.
        parameters: Name to value as text, of everything a row may set.
        extra: Cells of the manifest's columns that decide nothing.
        keys: Role to key of the artifact.
        seconds: Role to seconds that its unit took; other pairs may share the unit.
        facts: Numbers about detection and alignment, as text.
        warnings: Codes of what is to be looked at.
        reason: Typed reason of a failure.
        message: One line about a failure.
        failed_in: Stage in which it failed.
        reference: Thumbnail of the reference.
        driver: Thumbnail of a driving frame with its pose.
        motion: The dense motion field as colours.
        video: The result.
    """

    pair_id: str
    line: int
    reference_image: str
    driving_video: str
    status: PairStatus
    parameters: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    reason: str = ""
    message: str = ""
    failed_in: str = ""
    reference: Picture | None = None
    driver: Picture | None = None
    motion: Picture | None = None
    video: Video | None = None


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What a stage took, over all its jobs.

    Attributes:
        stage: Its name.
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
    """The whole page.

    Attributes:
        run: Name of the run.
        version: Of this program.
        bundle: Which checkpoints were used.
        pairs: Those that could run, in the order of the manifest.
        timings: In the order of the data flow.
        rejects: Why the other rows were set aside.
        configuration: The run's settings as text.
        pictured: Rows up to here have thumbnails; None: all.
    """

    run: str
    version: str
    bundle: str
    pairs: Sequence[PairReport]
    timings: Sequence[StageTiming] = ()
    rejects: Sequence[RowProblem] = ()
    configuration: str = ""
    pictured: int | None = None

    @property
    def rows(self) -> RowCounts:
        """How the rows of the manifest stand."""
        return RowCounts.of((pair.status for pair in self.pairs), self.rejects)

    def failures(self) -> list[PairReport]:
        """Pairs that failed, the commonest reason first."""
        failed = [pair for pair in self.pairs if pair.status is PairStatus.FAILED]
        counts = Counter(pair.reason for pair in failed)
        return sorted(failed, key=lambda pair: (-counts[pair.reason], pair.reason))

    def reasons(self) -> list[tuple[str, int]]:
        """Reasons of failure with their numbers, the commonest first."""
        return Counter(pair.reason for pair in self.failures()).most_common()

    def warned(self) -> list[tuple[str, int]]:
        """Warnings with the numbers of their pairs, the commonest first."""
        return Counter(code for pair in self.pairs for code in pair.warnings).most_common()

    def common_parameters(self) -> dict[str, str]:
        """Parameters that are the same for all pairs."""
        if not self.pairs:
            return {}
        first = self.pairs[0].parameters
        return {
            name: value
            for name, value in first.items()
            if all(pair.parameters.get(name) == value for pair in self.pairs)
        }
