"""The plan in brief: all that Snakemake needs to know of it, in one small file.

The main process works the plan out; every job of a cluster only reads this. Standard library
only, because each job parses the Snakefile anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dispose_stages.atomic import canonical_json
from dispose_stages.errors import StoreError
from dispose_stages.records import read_record

_FORM = ("dispose-plan", 1)
_LAST = ("mux", "score")


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """One job.

    Attributes:
        units: How many it computes.
        plan: Changes whenever the job has to run again: digest of its shard file, its epoch and
            the signature of the media it probes.
        upstream: Stage to names of the shards whose ledgers it reads.
    """

    units: int
    plan: str
    upstream: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """Jobs of a run.

    Attributes:
        rejects: Number of rows that were set aside.
        counts: Shards per stage as used in their names; empty shards have no job.
        shards: Stage to shard to its summary.
        weights: Signature (sizes and times) of the checkpoint files.
        report: Changes when the report has to be written again though no ledger did.
        shard_minutes: Aimed run time of a job.
    """

    pairs: int
    rejects: int
    counts: Mapping[str, int]
    shards: Mapping[str, Mapping[str, ShardSummary]]
    weights: str
    report: str
    shard_minutes: float

    def needed(self) -> list[tuple[str, str]]:
        """(stage, shard) of all jobs that videos and scores hang on, in stable order."""
        found: set[tuple[str, str]] = set()
        waiting = [(stage, shard) for stage in _LAST for shard in self.shards.get(stage, ())]
        while waiting:
            job = waiting.pop()
            if job not in found:
                found.add(job)
                upstream = self.shards[job[0]][job[1]].upstream
                waiting += [(stage, shard) for stage, names in upstream.items() for shard in names]
        return sorted(found)

    def to_json(self) -> str:
        """The file's text."""
        form, version = _FORM
        return canonical_json({"format": form, "version": version, **asdict(self)}) + "\n"

    @classmethod
    def read(cls, path: Path) -> PlanSummary:
        """Read the file.

        Raises:
            StoreError: It is absent, damaged, or of another version.
        """
        if not path.exists():
            raise StoreError(f"{path.parent.parent} holds no planned run (no {path.name})")
        return read_record(path, *_FORM, cls._build, sealed=False)

    @classmethod
    def _build(cls, content: dict[str, Any]) -> PlanSummary:
        shards = {
            stage: {name: _shard_summary(shard) for name, shard in named.items()}
            for stage, named in content.pop("shards").items()
        }
        return cls(shards=shards, **content)


def _shard_summary(content: Mapping[str, Any]) -> ShardSummary:
    upstream = {stage: tuple(names) for stage, names in content["upstream"].items()}
    return ShardSummary(int(content["units"]), str(content["plan"]), upstream)
