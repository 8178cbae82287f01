"""What a run came to, counted over all its pairs, which are never held at once."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from dispose_stages import __version__
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.report.content import PairReport, RunReport
from dispose_stages.report.rows import Overview, PairReader, comparable, stage_timings

_FIRST = 25
"""Pairs of the first page, which get pictures before any other."""


def pair_reports(outcomes: RunOutcomes) -> Iterator[PairReport]:
    """Rows of the page, one by one."""
    reader = PairReader(outcomes, read_run_config(outcomes.layout).encoding.container)
    return map(reader.read, outcomes.pair_outcomes())


def gather(outcomes: RunOutcomes) -> RunReport:
    """Content of the page, without its rows and pictures."""
    config = read_run_config(outcomes.layout)
    overview = Overview()
    for pair in pair_reports(outcomes):
        overview.add(pair)
    overview.table.finish()
    return RunReport(
        run=config.run,
        folder=str(outcomes.layout.root),
        version=__version__,
        bundle=config.models.bundle,
        rows=outcomes.counts(),
        table=overview.table,
        common=overview.common,
        failures=dict(overview.failures.most_common()),
        examples=overview.examples,
        warned=outcomes.warned().most_common(),
        distributions=overview.distributions(),
        unscored=overview.unscored(),
        comparable=list(comparable(outcomes.pair_outcomes())),
        timings=list(stage_timings(outcomes)),
        rejects=outcomes.rejects,
        configuration=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )


def chosen(report: RunReport, count: int) -> list[int]:
    """Positions of the pairs that get pictures, in the manifest's order.

    Those of the first page, then the worst and the best by each metric, then the others.
    """
    wanted = dict.fromkeys(range(min(_FIRST, report.table.rows)))
    for found in report.distributions:
        wanted |= dict.fromkeys([*found.worst, *found.best])
    wanted |= dict.fromkeys(range(min(count, report.table.rows)))
    return sorted(list(wanted)[:count])
