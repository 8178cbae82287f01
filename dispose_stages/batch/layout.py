"""Where everything of a run lies. Only the rules and the command line build one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Paths below ``<results>/<run>``."""

    root: Path

    def existing(self, place: Callable[[str, str], Path], *stages: str) -> list[Path]:
        """Files of one kind that are there, of the shards of whatever plan, in stable order.

        Args:
            place: The kind: `ledger`, `stats` or another of this layout's methods.
        """
        dots = place("", "").name.count(".")  # of `x.json`, whose pattern has `x.running.json` too
        patterns = (place(stage, "*") for stage in stages)
        found = (path for each in patterns for path in sorted(each.parent.glob(each.name)))
        return [path for path in found if path.name.count(".") == dots]

    @property
    def config(self) -> Path:
        """The resolved configuration every job reads."""
        return self.root / "plan" / "config.json"

    @property
    def summary(self) -> Path:
        """Shards per stage, what `rule all` and every job's Snakefile need."""
        return self.root / "plan" / "summary.json"

    @property
    def pairs(self) -> Path:
        """Every pair with its parameters and units."""
        return self.root / "plan" / "pairs.json"

    @property
    def priors(self) -> Path:
        """What units are known to cost, as of the plan."""
        return self.root / "plan" / "priors.json"

    @property
    def control(self) -> Path:
        """Stamps of forced re-runs and epochs of re-opened shards."""
        return self.root / "plan" / "control.json"

    @property
    def run_lock(self) -> Path:
        """Held by the one main process that works on the run."""
        return self.root / "plan" / "run.lock"

    @property
    def halt(self) -> Path:
        """There while jobs should end because the command's budget is spent; says why."""
        return self.root / "plan" / "halt"

    def shard(self, stage: str, shard: str) -> Path:
        """Units of one job."""
        return self.root / "plan" / stage / f"{shard}.json"

    def released(self, stage: str, shard: str) -> Path:
        """What came of units whose artifacts nothing needs any more, in a ledger's form."""
        return self.root / "released" / stage / f"{shard}.json"

    def ledger(self, stage: str, shard: str) -> Path:
        """Outcomes of one job."""
        return self.root / "ledger" / stage / f"{shard}.json"

    @property
    def weights(self) -> Path:
        """Digests of the checkpoint files."""
        return self.root / "ledger" / "weights.json"

    def stats(self, stage: str, shard: str) -> Path:
        """Seconds, memory, host and attempts of one job."""
        return self.root / "stats" / stage / f"{shard}.json"

    def partial(self, stage: str, shard: str) -> Path:
        """Ledger of a job that stopped early; says what is left."""
        return self.root / "stats" / stage / f"{shard}.partial.json"

    def running(self, stage: str, shard: str) -> Path:
        """The lease of a job on its shard, with its progress while it runs."""
        return self.root / "stats" / stage / f"{shard}.running.json"

    def log(self, stage: str, shard: str) -> Path:
        """What one job said."""
        return self.root / "logs" / stage / f"{shard}.log"

    @property
    def snakemake_log(self) -> Path:
        """What Snakemake says while `dispose run` shows the run in words of its own."""
        return self.root / "logs" / "snakemake.log"

    @property
    def videos(self) -> Path:
        """The delivered videos."""
        return self.root / "videos"

    @property
    def removed(self) -> Path:
        """Where videos go that no row of the manifest owns."""
        return self.root / "removed"

    @property
    def exports(self) -> Path:
        """Where the data sets made of the run are noted."""
        return self.root / "exports"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def report_files(self) -> Path:
        """Rows and pictures that the report loads."""
        return self.root / "report_files"

    @property
    def rejects(self) -> Path:
        """Rows of the manifest that were set aside."""
        return self.root / "rejects.csv"

    @property
    def failures(self) -> Path:
        """Pairs that were not delivered, with reasons."""
        return self.root / "failures.csv"

    @property
    def scores(self) -> Path:
        """Every score of every pair, in long form."""
        return self.root / "scores.parquet"

    @property
    def index(self) -> Path:
        """One record per pair, for users of the data set."""
        return self.root / "index.parquet"
