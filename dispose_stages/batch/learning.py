"""Learning from earlier runs what units cost (`dispose_stages.batch.priors`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.manifest import Manifest, read_manifest
from dispose_stages.batch.needed import other_runs
from dispose_stages.batch.priors import Priors, frames_read, work
from dispose_stages.batch.run_files import read_pairs
from dispose_stages.batch.stats import JobStats
from dispose_stages.batch.unit import Status, stage_of
from dispose_stages.config import STAGES, Config
from dispose_stages.errors import DisposeError, StoreError

LATEST_RUNS = 4
"""So many runs beside this one are looked at, those planned last."""
MANY_ROWS = 64
"""Fewer rows are not worth a command of their own to look at their drivers."""
ENOUGH_UNITS = 4
"""Fewer units of a stage say little about others."""
CPU = "cpu"
_MEASURED = tuple(stage for stage in STAGES if stage != "ingest")

Drivers = dict[str, tuple[int, float]]
"""Driving video to its frames and their rate."""
Costs = dict[tuple[str, str], list[tuple[float, float]]]
"""(Kind of GPU, stage) to seconds and work of each unit that it computed."""


def settle_priors(config: Config, layout: RunLayout, manifest: Manifest) -> Priors:
    """The priors of a run: those on record, or newly learned ones while its jobs may still change.

    They are learned for the first plan of a run, again as long as none but ``ingest`` has computed
    anything, and once more when the rest follows a pilot. A run that was planned without any keeps
    its shards.
    """
    if not config.shards.measured:
        return Priors()
    known = Priors.read(layout.priors)
    pilot = config.pilot.chosen
    if known is None and layout.summary.exists():
        return Priors()
    if known is not None and _has_begun(layout) and not (known.pilot and not pilot):
        return known
    return replace(_learn(config, layout, manifest), pilot=pilot)


def drivers_to_probe(config: Config) -> int:
    """Drivers that are worth being looked at before the other stages are planned.

    None where the run has begun, nothing was ever measured, or the run is small.

    Raises:
        ManifestError: The manifest is unusable as a whole.
    """
    layout = RunLayout(config.run_dir)
    manifest = read_manifest(Path(config.manifest), config.parameters)
    if len(manifest.rows) < MANY_ROWS or _has_begun(layout):
        return 0
    priors = settle_priors(config, layout, manifest)
    unknown = {row.driving_video for row in manifest.rows} - priors.drivers.keys()
    return len(unknown) if priors.seconds else 0


def _has_begun(layout: RunLayout) -> bool:
    places = (layout.stats, layout.running)
    return any(layout.existing(place, *_MEASURED) for place in places)


def _learn(config: Config, layout: RunLayout, manifest: Manifest) -> Priors:
    wanted = {row.driving_video for row in manifest.rows}
    costs: Costs = {}
    seen: Drivers = {}
    for run in _runs(layout):
        with suppress(DisposeError):  # of another version, or damaged: it teaches nothing
            _look_at(run, costs, seen)
    kind = config.shards.gpu or _commonest(costs, cpu=config.compute.device == CPU)
    seconds = {
        stage: taken / sum(amount for _, amount in units)
        for (gpu, stage), units in sorted(costs.items())
        if gpu == kind
        and len(units) >= ENOUGH_UNITS
        and (taken := sum(each for each, _ in units)) > 0
    }
    if not seconds:
        return Priors()
    drivers = {path: seen[path] for path in sorted(wanted & seen.keys())}
    known = [frames_read(config.parameters, *each) for each in (drivers or seen).values()]
    return Priors(seconds, kind, drivers, sum(known) / len(known) if known else 1.0)


def _runs(layout: RunLayout) -> Iterator[RunLayout]:
    """This run and the latest beside it."""
    others = other_runs(layout)
    others.sort(key=lambda run: (-run.summary.stat().st_mtime_ns, run.root))
    if layout.summary.exists():
        yield layout
    yield from others[:LATEST_RUNS]


def _commonest(costs: Costs, *, cpu: bool) -> str:
    """The kind that computed most units; a GPU where there is one and none is ruled out."""
    units: Counter[str] = Counter()
    for (gpu, _), computed in costs.items():
        units[gpu] += len(computed)
    kinds = [gpu for gpu in units if (gpu == CPU) == cpu] or ([] if cpu else [*units])
    return max(kinds, key=lambda gpu: (units[gpu], gpu), default="")


def _look_at(run: RunLayout, costs: Costs, seen: Drivers) -> None:
    drivers = dict(_drivers(run))
    for video, facts in drivers.items():
        seen.setdefault(video, facts)
    rows = read_pairs(run)
    works: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.driving_video in drivers:
            for role, unit in row.units.items():
                works.setdefault((stage_of(role), unit), work(row, role, drivers, 1.0))
    for stage in _MEASURED:
        for path in run.existing(run.stats, stage):
            _add(JobStats.read(path), stage, works, costs)


def _drivers(run: RunLayout) -> Iterator[tuple[str, tuple[int, float]]]:
    """Path, frames and rate of all videos that a run has probed."""
    for path in run.existing(run.ledger, "ingest"):
        with suppress(StoreError):
            results = Ledger.read(path).units
            for unit in Shard.read(run.shard("ingest", path.stem)).units:
                result = results.get(unit.id)
                facts = result.facts if result and result.status is Status.DONE else {}
                if facts.get("kind") == "video" and facts.get("frames", 0) > 0:
                    yield unit.sources["media"], (int(facts["frames"]), float(facts["fps"]))


def _add(stats: JobStats, stage: str, works: Mapping[tuple[str, str], float], costs: Costs) -> None:
    """A shard that several kinds of GPU worked on tells of none."""
    kinds = _kinds(stats)
    if len(kinds) != 1:
        return
    costs.setdefault((kinds.pop(), stage), []).extend(
        (seconds, amount)
        for unit, seconds in stats.seconds.items()
        if (amount := works.get((stage, unit)))
    )


def _kinds(stats: JobStats) -> set[str]:
    computed: Iterable[tuple[str, str]] = ((a.gpu, a.device) for a in stats.attempts if a.computed)
    return {gpu or device for gpu, device in computed}
