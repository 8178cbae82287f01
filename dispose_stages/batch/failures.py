"""Tables of what has no video: ``failures.csv`` and ``rejects.csv``, rewritten as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from dispose_stages.atomic import write_text
from dispose_stages.batch.manifest import rejects_csv
from dispose_stages.batch.manifest_text import csv_text
from dispose_stages.batch.outcomes import Outcome, PairStatus, RunOutcomes
from dispose_stages.batch.unit import stage_of
from dispose_stages.errors import Reason
from dispose_stages.wording import one_line

FAILURE_COLUMNS = ("line", "pair_id", "stage", "file", "reason", "message", "log")
_SOURCE_COLUMNS = {
    "ingest_image": "reference_image",
    "ingest_video": "driving_video",
    "pose_image": "reference_image",
    "pose_video": "driving_video",
    "correspondence": "reference_image",
}
_REFERENCE_REASONS = (Reason.NO_PERSON_REFERENCE, Reason.POSE_TOO_SPARSE)
_DRIVER_REASONS = (Reason.NO_SINGLE_PERSON_FRAME, Reason.PERSON_LOST)


def failures_csv(outcomes: RunOutcomes) -> str:
    """The text of ``failures.csv``: pairs without a video although everything was tried."""
    rows: list[Sequence[str]] = [FAILURE_COLUMNS]
    for outcome in outcomes.pair_outcomes():
        if outcome.status is PairStatus.FAILED:
            log = outcomes.log(outcome.stage, outcome.unit)
            cells = {
                "line": outcome.pair.line,
                "pair_id": outcome.pair.pair_id,
                "stage": outcome.stage,
                "file": _file_at_fault(outcome),
                "reason": outcome.reason,
                "message": outcome.message,
                "log": log.relative_to(outcomes.layout.root) if log else "",
            }
            rows.append([one_line(str(cells[column])) for column in FAILURE_COLUMNS])
    return csv_text(rows)


def _file_at_fault(outcome: Outcome) -> str:
    """The source that the unit or its reason is about; empty where both may be at fault."""
    if outcome.reason in _REFERENCE_REASONS:
        return outcome.pair.reference_image
    if outcome.reason in _DRIVER_REASONS:
        return outcome.pair.driving_video
    for role, column in _SOURCE_COLUMNS.items():
        if outcome.stage == stage_of(role) and outcome.pair.units.get(role) == outcome.unit:
            return str(getattr(outcome.pair, column))
    return ""


def write_failures(outcomes: RunOutcomes) -> None:
    """Write ``failures.csv``."""
    write_text(outcomes.layout.failures, failures_csv(outcomes))


def write_rejects(outcomes: RunOutcomes) -> None:
    """Write ``rejects.csv`` as planning did; media that failed later are failures."""
    write_text(outcomes.layout.rejects, rejects_csv(outcomes.rejects))
