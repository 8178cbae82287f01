"""From configuration and manifest to the files that jobs read.

`prepare_run` works everything out in memory and touches nothing, so that ``snakemake -n`` or
``--lint`` leave no trace; `PreparedRun.commit` writes, and is called once the run really starts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispose_stages.atomic import readable_json, write_pieces, write_text_if_changed
from dispose_stages.batch.audit import ShardId, audit_ledgers
from dispose_stages.batch.control import Control, standing_requests
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.learning import settle_priors
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.manifest import Manifest, RowProblem, read_manifest, rejects_csv
from dispose_stages.batch.pilot import settled_units
from dispose_stages.batch.plan import Plan, build_plan, revision, upstream_shards
from dispose_stages.batch.priors import Priors
from dispose_stages.batch.run_files import forget_damaged_weights, pairs_text
from dispose_stages.batch.run_lock import RunBusyError, RunLock
from dispose_stages.batch.signatures import (
    is_written,
    shard_signature,
    text_signature,
    weights_signature,
)
from dispose_stages.batch.strangers import STRANGERS_REMEDY, stranger_videos
from dispose_stages.batch.summary import PlanSummary, ShardSummary
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import STAGES, Config, load_config
from dispose_stages.errors import ManifestError, StoreError
from dispose_stages.store.artifacts import ArtifactStore

_SHOWN_REJECTS = 20
_ASKED_MEANWHILE = "another command changed what is to be done; the same command takes it up"


@dataclass(frozen=True, slots=True)
class Forced:
    """What the user wants computed again although nothing changed.

    Attributes:
        stages: All units of these.
        ledgers: All units of the shards that write these files.
        units: Stage to some of its units.
    """

    stages: frozenset[str] = frozenset()
    ledgers: frozenset[str] = frozenset()
    units: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is forced."""
        return bool(self.stages or self.ledgers or self.units)

    @classmethod
    def of(cls, targets: Iterable[str], *, everything: bool = False) -> Forced:
        """Sort rule names from file names, as ``snakemake --forcerun`` takes both."""
        names = {str(target) for target in targets}
        stages = set(STAGES) if everything else names & set(STAGES)
        return cls(frozenset(stages), frozenset(names - set(STAGES)))


@dataclass(slots=True)
class PreparedRun:
    """A run, worked out but not yet written down.

    Attributes:
        manifest: Its good rows and the problems of the others.
        plan: Units, pairs and numbers of shards.
        asked: Standing requests as they were when it was worked out.
        control: The same, with those of this command.
        shards: (stage, shard) to what its job is given.
        stale: (stage, shard)s whose ledger belongs to another plan.
        priors: What units are known to cost.
        repaired: What was damaged and how that was mended, for people.
        released: What came of units whose artifacts nothing needs any more.
        strangers: Videos that no row owns, by the name of their pair.
    """

    config: Config
    layout: RunLayout
    manifest: Manifest
    plan: Plan
    asked: Control
    control: Control
    shards: Mapping[ShardId, Shard]
    summary: PlanSummary
    stale: tuple[ShardId, ...]
    priors: Priors = field(default_factory=Priors)
    repaired: tuple[str, ...] = ()
    released: Mapping[ShardId, Mapping[str, Result]] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()
    _lock: RunLock | None = field(default=None, repr=False)

    def commit(self) -> None:
        """Take hold of the run and write its plan; files that say the same are left alone.

        Raises:
            RunBusyError: Another process works on it, or has asked something of it meanwhile.
        """
        layout = self.layout
        self._lock = RunLock(layout.run_lock)
        self._lock.acquire()
        if standing_requests(layout)[0] != self.asked:
            self.release()
            raise RunBusyError(f"{layout.root}: {_ASKED_MEANWHILE}")
        layout.halt.unlink(missing_ok=True)
        self.control.write(layout.control)
        write_text_if_changed(layout.priors, self.priors.to_json())
        forget_damaged_weights(layout)
        self._note_released()  # before any job begins, which takes its ledger away
        for (stage, name), shard in self.shards.items():
            write_text_if_changed(layout.shard(stage, name), shard.to_json())
        self._remove_former_shards()
        config = readable_json(self.config.model_dump(mode="json"))
        write_text_if_changed(layout.config, config)
        if not is_written(layout.pairs, self.summary.report):
            write_pieces(layout.pairs, pairs_text(self.plan.rows, self.manifest.problems))
        write_text_if_changed(layout.rejects, rejects_csv(self.manifest.problems))
        write_text_if_changed(layout.summary, self.summary.to_json())

    @property
    def exclusive(self) -> bool:
        """Whether it is certain that no other process works on the run."""
        return self._lock is not None and self._lock.exclusive

    def release(self) -> None:
        """Let go of the run before the process ends."""
        if self._lock is not None:
            self._lock.release()

    def reject_lines(self) -> Iterator[str]:
        """Which rows were set aside and why, and what was mended, for people."""
        yield from self.repaired
        problems = self.manifest.problems
        if problems:
            name, rejects = self.config.manifest, self.layout.rejects
            count = self.summary.rejects
            what = f"{count} row of {name} is" if count == 1 else f"{count} rows of {name} are"
            yield f"{what} set aside (all in {rejects}):"
        yield from _first_lines(problems)
        if self.strangers:
            yield f"{len(self.strangers)} videos belong to no row any more ({STRANGERS_REMEDY}):"
            yield f"  {', '.join(self.strangers[:_SHOWN_REJECTS])}"

    def _note_released(self) -> None:
        for (stage, shard), results in self.released.items():
            text = Ledger(stage, shard, results).to_json()
            write_text_if_changed(self.layout.released(stage, shard), text)
        for path in self.layout.existing(self.layout.released, *STAGES):
            if (path.parent.name, path.stem) not in self.released:
                path.unlink()

    def _remove_former_shards(self) -> None:
        """Forget shards that the plan no longer has, so that nobody counts their units."""
        for kind in (self.layout.shard, self.layout.ledger):
            for path in self.layout.existing(kind, *STAGES):
                if (path.parent.name, path.stem) not in self.shards:
                    path.unlink(missing_ok=True)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A plan is many small objects in no circle; the collector would walk them over and over."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_uncollected()
def prepare_run(values: Mapping[str, Any], forced: Forced | None = None) -> PreparedRun:
    """Work out a run; reads the manifest, sizes and times of media, and earlier ledgers.

    Args:
        forced: What is to be computed again.

    Raises:
        ConfigError: The configuration is wrong.
        ManifestError: The manifest is unusable as a whole, or none of its rows can run.
    """
    config = load_config(values)
    layout = RunLayout(config.run_dir)
    manifest = read_manifest(Path(config.manifest), config.parameters)
    _check_rows(manifest, config.manifest)
    asked, repaired = standing_requests(layout)
    priors = settle_priors(config, layout, manifest)
    plan, control = _plan(config, manifest, asked, forced or Forced(), priors)
    shards = _shard_files(plan)
    units = {shard_id: shard.units for shard_id, shard in shards.items()}
    store = ArtifactStore(Path(config.store))
    lost, stale, released = audit_ledgers(layout, store, units, config.store.keeps)
    control = control.reopened(lost)
    return PreparedRun(
        config=config,
        layout=layout,
        manifest=manifest,
        plan=plan,
        asked=asked,
        control=control,
        shards=shards,
        summary=_summarize(config, manifest, plan, shards, control),
        stale=tuple(stale),
        priors=priors,
        repaired=repaired,
        released=released,
        strangers=tuple(stranger_videos(layout, plan.rows)),
    )


def _plan(
    config: Config, manifest: Manifest, control: Control, forced: Forced, priors: Priors
) -> tuple[Plan, Control]:
    """The plan, and the requests with what is forced."""
    layout = RunLayout(config.run_dir)
    for stage in sorted(forced.stages):
        control = control.with_stamp(stage)
    for stage, names in forced.units.items():
        control = control.with_stamp(stage, names)
    former: dict[str, Any] = {"priors": priors}
    with suppress(StoreError):  # none yet, or of another version
        last = PlanSummary.read(layout.summary)
        former |= {"previous_counts": last.counts, "former": last.shards}
    if config.pilot.chosen:
        former["settled"] = settled_units(layout)
    plan = build_plan(config, manifest, stamps=control.stamps, **former)
    if forced.ledgers:  # whose units are known only now
        for (stage, shard), units in _units_by_shard(plan).items():
            if str(layout.ledger(stage, shard)) in forced.ledgers:
                control = control.with_stamp(stage, [unit.id for unit in units])
        plan = build_plan(config, manifest, stamps=control.stamps, **former)
    return plan, control


def _first_lines(problems: Sequence[RowProblem]) -> Iterator[str]:
    for problem in problems[:_SHOWN_REJECTS]:
        where = f"line {problem.line}" + (f", {problem.column}" if problem.column else "")
        yield f"  {where}: {problem.reason}"
    if len(problems) > _SHOWN_REJECTS:
        yield f"  and {len(problems) - _SHOWN_REJECTS} more"


def _check_rows(manifest: Manifest, name: str) -> None:
    if not manifest.rows:
        empty = "has no rows (`dispose manifest cross` writes those of two folders)"
        what = "no row can run:" if manifest.problems else empty
        raise ManifestError("\n".join([f"{name}: {what}", *_first_lines(manifest.problems)]))


def _units_by_shard(plan: Plan) -> dict[ShardId, list[Unit]]:
    return {(stage, name): units for stage in STAGES for name, units in plan.shards(stage).items()}


def _shard_files(plan: Plan) -> dict[ShardId, Shard]:
    revisions = {stage: revision(stage) for stage in STAGES}
    return {
        (stage, name): Shard(
            stage=stage,
            name=name,
            revision=revisions[stage],
            units=tuple(units),
            upstream={s: tuple(names) for s, names in upstream_shards(plan, units).items()},
        )
        for (stage, name), units in _units_by_shard(plan).items()
    }


def _summarize(
    config: Config,
    manifest: Manifest,
    plan: Plan,
    shards: Mapping[ShardId, Shard],
    control: Control,
) -> PlanSummary:
    summaries: dict[str, dict[str, ShardSummary]] = {stage: {} for stage in STAGES}
    for (stage, name), shard in shards.items():
        told = shard_signature(shard, control.epoch(stage, name))
        summaries[stage][name] = ShardSummary(len(shard.units), told, shard.upstream)
    return PlanSummary(
        pairs=len(plan.rows),
        rejects=len({problem.line for problem in manifest.problems}),
        counts=dict(plan.shard_counts),
        shards=summaries,
        weights=weights_signature(config.models.folder),
        report=text_signature(pairs_text(plan.rows, manifest.problems)),
        shard_minutes=config.shards.minutes,
    )
