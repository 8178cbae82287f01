"""``dispose status``: how a run stands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.console import time_left
from dispose_stages.cli.options import run_dir_argument
from dispose_stages.cli.terminal import say
from dispose_stages.wording import named

if TYPE_CHECKING:
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.batch.status import RunStatus, StageStatus

_COLUMNS = ("stage", "done", "running", "failed", "blocked", "pending", "s/unit", "jobs")
_WIDTHS = (15, 8, 8, 8, 8, 8, 8, 6)


@click.command()
@run_dir_argument
@click.option("--watch", is_flag=True, help="Show again every few seconds until nothing is left.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5),
    default=5.0,
    show_default=True,
    help="Seconds between two looks with --watch.",
)
@click.option(
    "--pairs", is_flag=True, help="Also list every row that is not delivered or has warnings."
)
@click.option("--json", "as_json", is_flag=True, help="For programs: everything as one JSON value.")
def status(*, run_dir: Path, watch: bool, interval: float, pairs: bool, as_json: bool) -> None:
    """Show what of the run in RUN_DIR (results/<run>) is done, running, failed or left.

    Counts are units, the smallest thing a stage computes: files, images, videos or pairs. Blocked
    units lack something upstream that failed. Only plan, ledgers and statistics are read, so this
    may be called at any time and from any machine.
    """
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.batch.outcomes import Files, RunOutcomes
    from dispose_stages.batch.run_files import read_run_config
    from dispose_stages.batch.run_lock import holder
    from dispose_stages.batch.status import run_status

    files = Files()
    RunOutcomes.read(run_dir, files)
    prior = read_run_config(RunLayout(run_dir)).shards.seconds_per_unit
    while True:
        outcomes = RunOutcomes.read(run_dir, files)
        current = run_status(outcomes, prior)
        by = holder(outcomes.layout.run_lock)
        if as_json:
            say(json.dumps(status_record(outcomes, current, by), ensure_ascii=False))
            return
        lines = [running_line(current, by), *status_lines(current)]
        lines += pair_lines(outcomes) if pairs else ()
        if watch and sys.stdout.isatty():
            click.clear()
        say("\n".join(lines))
        if not watch or current.finished:
            return
        time.sleep(interval)


def running_line(status: RunStatus, by: str) -> str:
    """Who works on the run, and where its jobs are.

    Args:
        by: Who holds the run; empty for nobody.
    """
    places = dict.fromkeys(
        f"{job.stage} {job.shard} " + (f"as job {job.job} " if job.job else "") + f"on {job.host}"
        for job in status.jobs
    )
    if not by:
        return "not running" + (f"; left behind: {named([*places])}" if places else "")
    return f"running: {by}" + (f"; {named([*places])}" if places else "; no job has begun")


def status_record(outcomes: RunOutcomes, status: RunStatus, by: str) -> dict[str, object]:
    """Everything that `dispose status` knows, as plain values."""
    from dispose_stages.batch.outcomes import PairStatus

    failed = [o for o in outcomes.pair_outcomes() if o.status is PairStatus.FAILED]
    return {
        "run": outcomes.layout.root.name,
        "running": by or None,
        "finished": status.finished,
        "rows": asdict(status.rows) | {"total": status.rows.total},
        "stages": [asdict(stage) for stage in status.stages],
        "warnings": dict(status.warned),
        "seconds_left": status.seconds_left,
        "pairs_per_hour": status.pairs_per_hour,
        "gpu_hours": status.gpu_hours,
        "gpu_hours_left": status.gpu_hours_left,
        "failed": [
            {"pair_id": o.pair.pair_id, "stage": o.stage, "reason": o.reason, "message": o.message}
            for o in failed
        ],
    }


def status_lines(status: RunStatus) -> Iterator[str]:
    """The overview."""
    yield _line(_COLUMNS)
    for stage in status.stages:
        yield _line(_cells(stage))
    yield ""
    yield str(status.rows)
    for code, count in sorted(status.warned.items()):
        yield f"{count} with a warning: {code}"
    if not status.finished:
        speed = status.pairs_per_hour
        yield f"speed: {speed:.1f} pairs per hour" if speed else "speed: not known yet"
        yield f"time left: {time_left(status) or 'not known yet'}"
    if status.gpu_hours:
        yield f"GPU-hours: {status.gpu_hours:.2f} used, about {status.gpu_hours_left:.2f} to come"


def pair_lines(outcomes: RunOutcomes) -> Iterator[str]:
    """A line per row that is not delivered or has warnings, with all reasons it is so."""
    from dispose_stages.batch.outcomes import PairStatus

    yield ""
    for outcome in outcomes.pair_outcomes():
        if outcome.status is PairStatus.FAILED:
            why = f"{outcome.reason}: {outcome.message}"
            yield f"{outcome.pair.pair_id}  failed in {outcome.stage}: {why}"
        elif outcome.status is PairStatus.PENDING:
            yield f"{outcome.pair.pair_id}  waits for {outcome.stage}"
        if warnings := outcomes.warnings(outcome.pair):
            yield f"{outcome.pair.pair_id}  warnings: {', '.join(warnings)}"
    for problem in outcomes.rejects:
        name = problem.pair_id or f"line {problem.line}"
        yield f"{name}  rejected: {problem.column or 'row'}: {problem.reason}"


def _line(cells: tuple[str, ...]) -> str:
    first, *rest = zip(cells, _WIDTHS, strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f"{cell:>{width}}" for cell, width in rest)


def _cells(stage: StageStatus) -> tuple[str, ...]:
    counts = (stage.done, stage.running, stage.failed, stage.blocked, stage.pending)
    pace = "-" if stage.seconds_per_unit is None else f"{stage.seconds_per_unit:.2f}"
    return (stage.stage, *(str(count) for count in counts), pace, str(len(stage.jobs) or "-"))
