"""Tables about a run for users of its videos: ``index.parquet``, ``failures.csv``, ``rejects.csv``.

All are rewritten as a whole, by rename.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from dispose_stages.atomic import replacing, write_text
from dispose_stages.batch.ledger import Status
from dispose_stages.batch.manifest import RowProblem, rejects_csv
from dispose_stages.batch.outcomes import ROLES, PairOutcome, PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config

FAILURE_COLUMNS = ("pair", "stage", "reason", "message", "log")
_MEDIA_COLUMNS = {"ingest_image": "reference_image", "ingest_video": "driving_video"}


def index_records(outcomes: RunOutcomes) -> Iterator[dict[str, Any]]:
    """One record per pair; keys and seconds per role, parameters under ``parameter_<name>``."""
    container = read_run_config(outcomes.layout).encoding.container
    seconds = {
        (shard.stage, unit): value
        for shard in outcomes.shards
        for unit, value in shard.stats.seconds.items()
    }
    for outcome in outcomes.pair_outcomes():
        pair = outcome.pair
        mux = outcomes.entry(pair, "mux")
        delivered = outcome.status is PairStatus.DELIVERED
        facts = mux.facts if delivered and mux is not None else {}
        record: dict[str, Any] = {
            "pair": pair.pair_id,
            "status": str(outcome.status),
            "reference_image": pair.reference_image,
            "driving_video": pair.driving_video,
            "output": f"videos/{pair.pair_id}.{container}" if delivered else None,
            "frames": facts.get("frames"),
            "failed_stage": outcome.stage if outcome.status is PairStatus.FAILED else None,
            "reason": outcome.reason or None,
            "message": outcome.message or None,
        }
        record |= {f"parameter_{name}": value for name, value in pair.parameters.items()}
        for role, stage in ROLES.items():
            entry = outcomes.entry(pair, role)
            record[f"key_{role}"] = entry.key or None if entry is not None else None
            record[f"seconds_{role}"] = seconds.get((stage, pair.units.get(role, "")))
        yield record


def write_index(outcomes: RunOutcomes) -> None:
    """Write ``index.parquet``; column types do not depend on which pairs were delivered."""
    import pandas as pd

    frame = pd.DataFrame(list(index_records(outcomes)))
    for column in frame.columns:
        frame[column] = frame[column].astype(_dtype(column, frame[column]))
    with replacing(outcomes.layout.index) as temporary:
        frame.to_parquet(temporary, index=False)


def _dtype(column: str, values: Any) -> Any:
    if column == "frames" or column in {"parameter_max_frames", "parameter_seed"}:
        return "Int64"
    if column.startswith("seconds_"):
        return "float64"
    return values.dtype if column.startswith("parameter_") else "string"


def failures_csv(outcomes: RunOutcomes) -> str:
    """The text of ``failures.csv``: pairs without a video although everything was tried."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(FAILURE_COLUMNS)
    for outcome in outcomes.pair_outcomes():
        if outcome.status is PairStatus.FAILED:
            log = outcomes.log(outcome.stage, outcome.unit)
            place = log.relative_to(outcomes.layout.root) if log else ""
            words = (outcome.pair.pair_id, outcome.stage, outcome.reason, outcome.message, place)
            writer.writerow(words)
    return output.getvalue()


def write_failures(outcomes: RunOutcomes) -> list[PairOutcome]:
    """Write ``failures.csv``; returns the failed pairs."""
    write_text(outcomes.layout.failures, failures_csv(outcomes))
    return [o for o in outcomes.pair_outcomes() if o.status is PairStatus.FAILED]


def unreadable_media(outcomes: RunOutcomes) -> Iterator[RowProblem]:
    """Rows whose media only turned out to be unusable when they were opened."""
    for pair in outcomes.pairs:
        for role, column in _MEDIA_COLUMNS.items():
            entry = outcomes.entry(pair, role)
            if entry is not None and entry.status is Status.FAILED:
                yield RowProblem(pair.line, column, f"{entry.reason}: {entry.message}")


def write_rejects(outcomes: RunOutcomes) -> None:
    """Add what ingest found to the rows that planning had set aside."""
    path = outcomes.layout.rejects
    problems = set(unreadable_media(outcomes))
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            problems |= {RowProblem(int(r["line"]), r["column"], r["reason"]) for r in rows}
    write_text(path, rejects_csv(sorted(problems)))
