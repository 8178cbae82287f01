"""What a run came to, counted over all its pairs, which are never held at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from dispose_stages import __version__
from dispose_stages.batch.manifest import RowProblem
from dispose_stages.batch.outcomes import RowCounts, RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.report.content import StageTiming
from dispose_stages.report.rows import Overview, comparable, pair_reports, stage_timings

_FIRST = 25
"""Pairs of the first page, which get pictures before any other."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The page, without its rows.

    Attributes:
        folder: Of the run, as commands take it.
        bundle: Which checkpoints were used.
        rows: How the rows of the manifest stand.
        overview: What is counted over its pairs.
        warned: Warnings with the numbers of their pairs, the commonest first.
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
    overview: Overview
    warned: Sequence[tuple[str, int]] = ()
    comparable: Sequence[tuple[str, Mapping[str, int]]] = ()
    timings: Sequence[StageTiming] = ()
    rejects: Sequence[RowProblem] = ()
    configuration: str = ""


def gather(outcomes: RunOutcomes) -> RunReport:
    """Content of the page, without its rows and pictures."""
    config = read_run_config(outcomes.layout)
    return RunReport(
        run=config.run,
        folder=str(outcomes.layout.root),
        version=__version__,
        bundle=config.models.bundle,
        rows=outcomes.counts(),
        overview=Overview(pair_reports(outcomes)),
        warned=outcomes.warned().most_common(),
        comparable=list(comparable(outcomes.pair_outcomes())),
        timings=list(stage_timings(outcomes)),
        rejects=outcomes.rejects,
        configuration=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )


def chosen(report: RunReport, count: int) -> list[int]:
    """Positions of the pairs that get pictures, in the manifest's order.

    Those of the first page, then the worst and the best by each metric, then the others.
    """
    wanted = dict.fromkeys(range(min(_FIRST, report.overview.table.rows)))
    for found in report.overview.distributions:
        wanted |= dict.fromkeys([*found.worst, *found.best])
    wanted |= dict.fromkeys(range(min(count, report.overview.table.rows)))
    return sorted(list(wanted)[:count])
