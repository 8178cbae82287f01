"""What the rules of the workflow are made of: paths as Snakemake takes them, and their functions.

Every job of a cluster parses the Snakefile anew, so this needs the standard library only, and of a
run its short plan.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dispose_stages.atomic import temporary_name
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.summary import PlanSummary, ShardSummary
from dispose_stages.errors import StoreError

CALLER = "DISPOSE_CALLER"
"""Environment variable: the file that takes what the workflow has to say to who called it."""
_WILDCARD = re.compile(r"\{[^{}]*\}")
_LINKS = Path(".snakemake", "dispose")

Resource = Callable[[Any, int], int]


class Wildcards(Protocol):
    """What Snakemake passes to functions of a shard's rule."""

    shard: str


def without_braces(folder: str) -> str:
    """The folder under a name that Snakemake does not take for a pattern.

    It sees a wildcard in ``{y}``, in every path of every rule, and knows no way to write anything
    else. Such a folder is reached through a link among Snakemake's own files (`link_folder`).
    """
    if not _WILDCARD.search(folder):
        return folder
    return str(_LINKS / hashlib.sha256(folder.encode()).hexdigest()[:16])


def tell_caller(lines: Iterable[str], environ: Mapping[str, str] = os.environ) -> None:
    """Lines that whoever watches the run should show although Snakemake's output is hidden."""
    if path := environ.get(CALLER):
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as stream:  # noqa: PTH123
            stream.writelines(f"{line}\n" for line in lines)


def link_folder(folder: str) -> None:
    """Make the name that `without_braces` gives lead to the folder."""
    if not _WILDCARD.search(folder):
        return
    link = Path(without_braces(folder))
    # Relative like the folder itself, so that both may move together.
    target = folder if os.path.isabs(folder) else os.path.relpath(folder, link.parent)  # noqa: PTH117
    if link.is_symlink() and str(link.readlink()) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(link)
    temporary.symlink_to(target)
    temporary.replace(link)


class RunRules:
    """Paths and functions of one run's rules.

    Args:
        config: Names the folders of results and run.
        plan: The plan as far as it is known when it is asked for.

    Attributes:
        run_dir: ``<results>/<run>``, for commands.
        layout: Of the run, as Snakemake is to see it.
    """

    def __init__(self, config: Mapping[str, Any], plan: Callable[[], PlanSummary]) -> None:
        results, run = str(config["results"]), str(config["run"])
        self.run_dir = str(Path(results, run))
        self.layout = RunLayout(Path(without_braces(results), run))
        self._plan = plan

    def path(self, *parts: str) -> str:
        """A path below the run's folder; `parts` may hold wildcards."""
        return str(self.layout.root.joinpath(*parts))

    def ledger(self, stage: str) -> str:
        """The ledger of a stage's shard, as a pattern."""
        return str(self.layout.ledger(stage, "{shard}"))

    def log(self, stage: str) -> str:
        """What a job says, as a pattern."""
        return str(self.layout.log(stage, "{shard}"))

    def benchmark(self, stage: str) -> str:
        """Time and memory of a job as Snakemake measures them, as a pattern."""
        return self.path("benchmarks", stage, "{shard}.tsv")

    def ledgers(self, stage: str) -> list[str]:
        """All ledgers of a stage."""
        return [str(self.layout.ledger(stage, shard)) for shard in self._plan().shards[stage]]

    def targets(self) -> list[str]:
        """Page and tables, and everything that a video hangs on.

        All of it: Snakemake misses neither one of a job's outputs where another is there, nor a
        ledger in the middle whose heirs are.
        """
        jobs = (str(self.layout.ledger(*job)) for job in self._plan().needed())
        layout = self.layout
        tables = (layout.report, layout.index, layout.failures, layout.rejects, layout.scores)
        return [*map(str, tables), str(layout.weights), *jobs]

    def upstream(self, stage: str) -> Callable[[Wildcards], list[str]]:
        """Input function: ledgers of the shards that hold what this shard reads."""

        def of_shard(wildcards: Wildcards) -> list[str]:
            upstream = self.shard(stage, wildcards).upstream
            jobs = ((name, shard) for name, shards in upstream.items() for shard in shards)
            return [str(self.layout.ledger(*job)) for job in jobs]

        return of_shard

    def shard_plan(self, stage: str) -> Callable[[Wildcards], str]:
        """Params function: changes whenever the shard has to be run again."""
        return lambda wildcards: self.shard(stage, wildcards).plan

    def work(self, stage: str, noun: str) -> Callable[[Wildcards], str]:
        """Params function: how many of what, for people."""
        return lambda wildcards: f"{self.shard(stage, wildcards).units} {noun}"

    def shard(self, stage: str, wildcards: Wildcards) -> ShardSummary:
        """One job's part of the plan.

        Raises:
            StoreError: The plan has no such shard.
        """
        try:
            return self._plan().shards[stage][wildcards.shard]
        except KeyError:
            raise StoreError(f"the plan has no {stage} shard {wildcards.shard}") from None

    def minutes(self, factor: float = 4, least: int = 30) -> Resource:
        """Resource function: several times the aimed run time of a shard, more each attempt.

        A job ends itself before its limit and the next attempt goes on where it stopped.
        """

        def of_attempt(_wildcards: Any, attempt: int) -> int:
            return max(least, round(factor * self._plan().shard_minutes)) * attempt

        return of_attempt


def memory(megabytes: int) -> Resource:
    """Resource function: more memory with every attempt."""

    def of_attempt(_wildcards: Any, attempt: int) -> int:
        return megabytes * attempt

    return of_attempt
