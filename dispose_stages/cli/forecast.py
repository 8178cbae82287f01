"""What ``dispose run`` is about to compute: shown by ``--dry-run``, asked about if it is much."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.cli.terminal import say
from dispose_stages.errors import ConfigError, DisposeError

if TYPE_CHECKING:
    from dispose_stages.batch.estimate import StageForecast
    from dispose_stages.batch.prepare import Forced
    from dispose_stages.config import Config

_LINE = "{:<15}{:>9}{:>9}{:>6}{:>10}{:>9}{:>9}  {}"
_NEARLY_FULL = 0.9


def confirm(config: Config, forced: Forced, *, yes: bool) -> None:
    """Ask before a command that is estimated to take many GPU hours; warn of a full store.

    Raises:
        ConfigError: The answer is no, or there is nobody to ask.
    """
    from dispose_stages.batch.estimate import gpu_hours

    limit = None if yes or config.compute.device == "cpu" else config.limits.confirm_gpu_hours
    if limit is None and config.store.max_bytes is None:
        return
    try:
        stages = _forecasts(config, forced)
    except DisposeError:  # what is wrong shows when the run begins
        return
    for line in _store_warning(config, sum(stage.bytes or 0.0 for stage in stages)):
        say(line, err=True)
    hours = gpu_hours(stages)
    if limit is None or hours <= limit:
        return
    what = f"this is estimated to take {hours:.1f} GPU hours, more than {limit:g}"
    if not sys.stdin.isatty():
        raise ConfigError(f"{what} (limits.confirm_gpu_hours); --yes does it, --dry-run shows why")
    if not click.confirm(f"{what}. Go on?", err=True):
        raise ConfigError("nothing was begun; --dry-run shows what takes so long")


def _store_warning(config: Config, more: float) -> Iterator[str]:
    """Where the store is near the size it may have, or will be."""
    from dispose_stages.config import STORED_STAGES
    from dispose_stages.store.listing import store_size

    limit = config.store.max_bytes
    if limit is None:
        return
    used = store_size(Path(config.store), STORED_STAGES)
    if used > _NEARLY_FULL * limit or used + more > limit:
        sizes = f"{used / 1e9:.2f} GB now, about {(used + more) / 1e9:.2f} GB after this"
        yield (
            f"warning: the store may have {limit / 1e9:.2f} GB (store.max_bytes): {sizes}; "
            "`dispose gc --intermediates` makes room"
        )


def _forecasts(config: Config, forced: Forced) -> list[StageForecast]:
    from dispose_stages.batch.estimate import stage_forecasts
    from dispose_stages.batch.forecast import forecast
    from dispose_stages.batch.prepare import prepare_run

    prepared = prepare_run(config.model_dump(mode="json"), forced)
    return stage_forecasts(prepared, forecast(prepared))


def forecast_lines(config: Config, forced: Forced) -> Iterator[str]:
    """What a command would compute, why, and what it takes."""
    from dispose_stages.batch.estimate import gpu_hours

    stages = _forecasts(config, forced)
    yield _LINE.format("stage", "compute", "cached", "jobs", "hours", "GB", "files", "why")
    for stage in stages:
        reasons = ", ".join(f"{count} {why}" for why, count in stage.why) or "-"
        kept = f"; {stage.kept} failed before and stay so" if stage.kept else ""
        yield _LINE.format(
            stage.stage,
            stage.compute,
            stage.cached,
            stage.jobs,
            f"{stage.seconds / 3600:.2f}{'' if stage.measured else '*'}",
            "?" if stage.bytes is None and stage.compute else f"{(stage.bytes or 0.0) / 1e9:.2f}",
            stage.inodes,
            f"{reasons}{kept}",
        )
    yield from _totals(config, stages, gpu_hours(stages))
    yield from _missing_weights(config, [stage.stage for stage in stages if stage.compute])


def _totals(config: Config, stages: Sequence[StageForecast], hours: float) -> Iterator[str]:
    from dispose_stages.store.files import existing_folder

    if not all(stage.measured for stage in stages):
        yield "* by shards.seconds_per_unit: nothing is measured here yet (try --sample 20)"
    if any(stage.bytes is None and stage.compute for stage in stages):
        yield "? no result of that stage lies here yet"
    size, files = sum(stage.bytes or 0.0 for stage in stages), sum(s.inodes for s in stages)
    yield f"about {hours:.2f} GPU hours, {size / 1e9:.2f} GB, {files} files"
    yield from _store_warning(config, size)
    place = existing_folder(Path(config.store))
    room = os.statvfs(place)
    if size > room.f_bavail * room.f_frsize or 0 < room.f_favail < files:
        free = f"{room.f_bavail * room.f_frsize / 1e9:.2f} GB and {room.f_favail} files"
        yield f"warning: {place} has room for {free} only"


def _missing_weights(config: Config, stages: Sequence[str]) -> Iterator[str]:
    """Of the stages that compute anything, as the run itself asks for them."""
    from dispose_stages.weights.verification import verify

    try:
        verify(config.models.folder, stages, config.models.bundle)
    except DisposeError as error:
        yield f"the run would not begin: {error}"
