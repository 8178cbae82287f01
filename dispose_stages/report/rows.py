"""Pairs of a run as the report tells of them, put together from plan, ledgers and statistics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from dispose_stages.batch.index import pair_facts
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import ROLES, Outcome, PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.scores import group_of, score_results, suffix_of, variant_of
from dispose_stages.batch.unit import Status, stage_of
from dispose_stages.report.columns import Group, Table
from dispose_stages.report.content import PairReport, StageTiming
from dispose_stages.report.metrics import distributions, in_order

EXAMPLES = 20
"""Pairs that are named per reason of failure; the page finds all of them."""


def pair_reports(outcomes: RunOutcomes) -> Iterator[PairReport]:
    """Every pair of a run, one by one."""
    container = read_run_config(outcomes.layout).encoding.container
    seconds = outcomes.seconds()
    for outcome in outcomes.pair_outcomes():
        pair = outcome.pair
        scores, missing = _scores(outcomes, pair)
        facts = pair_facts(outcomes.result(pair, "motion"))
        times = {r: seconds.get((stage_of(r), pair.units.get(r, ""))) for r in ROLES}
        log = outcomes.log(outcome.stage, outcome.unit) if outcome.reason else None
        yield PairReport(
            outcome,
            parameters=_parameters(pair),
            seconds={role: value for role, value in times.items() if value is not None},
            facts={name: value for name, value in facts.items() if value is not None},
            scores=scores,
            missing=missing,
            warnings=outcomes.warnings(pair),
            log=str(log.relative_to(outcomes.layout.root)) if log else "",
            video=_video(outcomes, outcome, container),
        )


def _video(outcomes: RunOutcomes, outcome: Outcome, container: str) -> dict[str, Any] | None:
    if outcome.status is not PairStatus.DELIVERED:
        return None
    result = outcomes.result(outcome.pair, "mux")
    link = f"videos/{outcome.pair.pair_id}.{container}"
    return video_data(link, result.facts if result else {})


def video_data(link: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """A delivered video for the page's script.

    Args:
        link: Path relative to the page.
        facts: Of a ledger, which may be anything.
    """

    def number(name: str) -> float:
        value = facts.get(name)
        return value if isinstance(value, int | float) and 0 <= value < 2**63 else 0

    frames, width, height = (int(number(name)) for name in ("frames", "width", "height"))
    size = int(number("size_bytes"))
    return {
        "link": quote(link),
        "text": f"{frames} frames · {width} x {height} · {number('fps'):g} fps"
        f" · {f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{max(size / 1e3, 0.1):.0f} kB'}",
        "frames": frames,
        "ratio": [width, height],
    }


def _parameters(pair: Row) -> dict[str, str]:
    own = {name: _text(value) for name, value in pair.parameters}
    if pair.reference_frame is not None:
        own["reference_frame"] = str(pair.reference_frame)
    return own


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "all" if value is None else str(value)


def _scores(outcomes: RunOutcomes, pair: Row) -> tuple[dict[str, float], dict[str, str]]:
    """Values by metric, and why there is none; of a group that failed under ``<group>:*``."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    for role, result in score_results(outcomes, pair):
        suffix = suffix_of(role)
        if suffix == "_truth":
            continue
        if result.status is not Status.DONE:
            missing[f"{group_of(role)}:*{suffix}"] = str(result.reason or result.status)
        values |= {name + suffix: v for name, v in result.facts.get("values", {}).items()}
        missing |= {name + suffix: why for name, why in result.facts.get("missing", {}).items()}
    return values, missing


class Overview:
    """What is counted over all pairs.

    Attributes:
        table: What pairs can be found and sorted by.
        common: Parameters that are the same for all.
        failures: Reason to number of pairs, the commonest first.
        examples: Reason to the first of these pairs.
        distributions: Of scores, and of what detection and alignment gave.
        unscored: Metrics without a single value, and groups that failed as a whole: why, how often.
    """

    def __init__(self, pairs: Iterable[PairReport]) -> None:
        self.table = Table()
        self.common: dict[str, str] = {}
        self.examples: dict[str, list[PairReport]] = defaultdict(list)
        self._failures: Counter[str] = Counter()
        self._missing: dict[str, Counter[str]] = defaultdict(Counter)
        self._delivered: list[int] = []
        for pair in pairs:
            self._add(pair)
        self.table.finish()
        self.failures = dict(self._failures.most_common())
        delivered = np.array(self._delivered, dtype=np.int64)
        self.distributions = list(distributions(self.table, self._missing, delivered))
        named = {column.name for column in self.table.numbers("score")}
        self.unscored = {n: dict(why) for n, why in self._missing.items() if n not in named}

    def _add(self, pair: PairReport) -> None:
        if self.table.rows == 0:
            self.common = dict(pair.parameters)
        differing = [n for n, value in self.common.items() if pair.parameters.get(n) != value]
        for name in differing:
            del self.common[name]
        if pair.video is not None:
            self._delivered.append(self.table.rows)
        if reason := pair.outcome.reason:
            self._failures[reason] += 1
            if len(examples := self.examples[reason]) < EXAMPLES:
                examples.append(pair)
        for name, reason in pair.missing.items():
            self._missing[name][reason] += 1
        self.table.append(_cells(pair))


def _cells(pair: PairReport) -> dict[tuple[Group, str], str | float]:
    outcome, row = pair.outcome, pair.outcome.pair
    cells: dict[tuple[Group, str], str | float] = {
        ("pair", "pair_id"): row.pair_id,
        ("pair", "line"): row.line,
        ("pair", "status"): str(outcome.status),
        ("pair", "variant"): pair.variant,
        ("pair", "reason"): outcome.reason,
        ("pair", "stage"): pair.failed_in,
        ("pair", "warnings"): " ".join(pair.warnings),
        ("pair", "reference"): row.reference_image,
        ("pair", "driver"): row.driving_video,
        ("pair", "message"): outcome.message,
        ("pair", "seconds"): sum(pair.seconds.values()),
    }
    if pair.video is not None:
        cells["pair", "frames"] = pair.video["frames"]
    cells |= {("score", name): value for name, value in pair.scores.items()}
    cells |= {("fact", name): value for name, value in pair.facts.items()}
    cells |= {("parameter", name): value for name, value in pair.parameters.items()}
    cells |= {("manifest", name): value for name, value in row.extra.items()}
    return cells


def comparable(outcomes: Iterable[Outcome]) -> Iterator[tuple[str, dict[str, int]]]:
    """Rows that differ in their variant only: their clip, and variant to position, ``full`` first.

    Only delivered pairs; groups of one are no comparison.
    """
    groups: dict[object, tuple[str, dict[str, int]]] = {}
    switches = {"motion_guidance": True, "correspondence_guidance": True}
    for position, outcome in enumerate(outcomes):
        if outcome.status is PairStatus.DELIVERED:
            pair = outcome.pair
            rest = pair.parameters.model_copy(update=switches)
            key = pair.clip, pair.reference_frame, rest.model_dump_json()
            variant = variant_of(pair.parameters)
            groups.setdefault(key, (pair.label, {}))[1].setdefault(variant, position)
    for label, group in groups.values():
        if len(group) > 1:
            yield label, {variant: group[variant] for variant in in_order(group)}


def stage_timings(outcomes: RunOutcomes) -> Iterator[StageTiming]:
    """One record per stage, from its jobs' statistics."""
    for stage in dict.fromkeys([*map(stage_of, ROLES), *outcomes.summary.shards]):
        shards = [shard for shard in outcomes.shards if shard.stage == stage]
        attempts = [shard.stats.attempts for shard in shards]
        results = outcomes.results.get(stage, {}).values()
        yield StageTiming(
            stage=stage,
            jobs=sum(bool(tries) for tries in attempts),
            found=sum(tries[-1].found for tries in attempts if tries),
            failed=sum(result.status is Status.FAILED for result in results),
            seconds=[value for shard in shards for value in shard.stats.seconds.values()],
            load_seconds=sum(attempt.load_seconds for tries in attempts for attempt in tries),
        )
