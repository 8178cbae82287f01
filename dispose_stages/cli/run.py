"""``dispose run``: builds the snakemake command, calls it, and says how much was delivered."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dispose_stages.atomic import readable_json, write_text_if_changed
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.prepare import Forced
from dispose_stages.cli.bounds import EXIT_BUDGET, BudgetWatch, bounded
from dispose_stages.cli.conduct import Conductor, Spoken, Watched
from dispose_stages.cli.forecast import confirm, forecast_lines
from dispose_stages.cli.on_end import call_on_end, split_command
from dispose_stages.cli.options import (
    FILE,
    WithSnakemake,
    config_option,
    profile_option,
    settings_option,
)
from dispose_stages.cli.supervision import Supervised
from dispose_stages.cli.terminal import say
from dispose_stages.config import STAGES, Config, load_config
from dispose_stages.config_text import merged, parse_settings, read_config_file
from dispose_stages.errors import ConfigError, DisposeError, ManifestError, StoreError
from dispose_stages.shipped import shipped

EXIT_STATUS = {"all": 0, "some": 3, "none": 4}
"""By how much of the manifest was delivered."""
HEALINGS = 2
"""How often a run is planned once more by itself, to make lost artifacts again."""
_KEPT = "what is finished is kept, and the same command continues"


@click.command(cls=WithSnakemake)
@profile_option
@config_option
@click.option(
    "--manifest",
    type=FILE,
    help="The pairs; short for --set manifest=FILE.",
)
@settings_option
@click.option(
    "--force", type=click.Choice(STAGES), help="Compute this stage anew, then what hangs on it."
)
@click.option("--verbose", is_flag=True, help="Show Snakemake's own output instead of the run.")
@click.option(
    "--on-end",
    metavar="COMMAND",
    help="Run a command at the end. It is no shell's; how the run ended stands in its environment: "
    "DISPOSE_RUN, _RUN_DIR, _STATUS, _SECONDS, _ROWS, _DELIVERED, _FAILED, _REJECTED, _PENDING.",
)
@click.option("--pairs", help="Comma-separated ids: --force these pairs only.")
@bounded
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would run.")
@click.argument("extra", nargs=-1, metavar="[-- SNAKEMAKE_ARGUMENTS]")
def run(
    *,
    profile: Path,
    config_file: Path,
    manifest: Path | None,
    settings: tuple[str, ...],
    force: str | None,
    pairs: str | None,
    pilot: dict[str, Any],
    max_gpu_hours: float | None,
    until: float | None,
    yes: bool,
    dry_run: bool,
    verbose: bool,
    on_end: str | None,
    extra: tuple[str, ...],
) -> None:
    """Run the pipeline; the same command continues after a kill, and does nothing when all is done.

    Runs `snakemake --profile ...` and shows how the run stands: on a terminal as one block, else as
    a line per minute and event. Arguments after `--` go to snakemake, for instance `dispose run --
    --until motion --keep-going`; what it says itself lies in `<results>/<run>/logs/snakemake.log`.

    With --only, --first or --sample only a part is computed, in the same run: without them the
    rest follows, and nothing is made twice. --dry-run says what would be computed, why, and what
    it takes.

    Exit status: 0 every row of the manifest (of a pilot: every row of it) was delivered, 3 some
    were, 4 none was, 1 the run did not come about, 75 the budget was spent before the end; 128 and
    the signal's number if one stopped it (Ctrl-C: 130, SIGTERM: 143); of a dry run that of
    snakemake.
    """
    values = merged(parse_settings(settings), pilot)
    if manifest is not None:
        values["manifest"] = str(manifest)
    config = load_config(merged(read_config_file(config_file), values))
    layout = RunLayout(config.run_dir)
    forced = Forced.of([force] if force is not None else [])
    if pairs is not None:
        forced = _force_pairs(layout, force, pairs.split(","), dry_run=dry_run)
        force = None
    if dry_run:
        say("\n".join(forecast_lines(config, forced)))
    else:
        confirm(config, forced, yes=yes)
    files = [config_file, *([_write_overrides(values)] if values else [])]
    command = snakemake_command(profile, files, force=force, dry_run=dry_run, extra=extra)
    notify = split_command(on_end) if on_end is not None else None
    began = time.monotonic()
    conductor = Spoken() if verbose or dry_run else Watched(config)
    bounds = (None, None) if dry_run else (max_gpu_hours, until)
    watch = BudgetWatch(*bounds, layout, conductor.tell)
    probe = not (dry_run or forced or extra)
    ended = _probe_first(config, conductor, command, watch) if probe else None
    ended = ended or _conduct(conductor, command, watch)
    if not dry_run:
        ended = _heal(layout, conductor, command, watch, ended)
    conductor.close(ended)
    status = ended.status if dry_run else exit_status(config, ended)
    if status and watch.spent:
        status = EXIT_BUDGET
        say(f"{watch.spent}; {_KEPT}", err=True)
    elif status and ended.stopped_by:
        status = 128 + ended.stopped_by
        say(f"stopped; {_KEPT}", err=True)
    if notify and not dry_run:
        call_on_end(notify, layout, status, time.monotonic() - began)
    sys.exit(status)


def _conduct(conductor: Conductor, command: Sequence[str], watch: BudgetWatch) -> Supervised:
    ended = conductor.run(command, watch.begin)
    watch.end()
    return ended


def _heal(
    layout: RunLayout,
    conductor: Conductor,
    command: Sequence[str],
    watch: BudgetWatch,
    ended: Supervised,
) -> Supervised:
    """Plan again while jobs have found artifacts lost."""
    for _ in range(HEALINGS):
        if ended.stopped_by or watch.spent or not _artifact_was_lost(layout):
            break
        conductor.tell("an artifact was lost or damaged; planning once more to make it again")
        ended = _conduct(conductor, command, watch)
    return ended


def _probe_first(
    config: Config, conductor: Conductor, command: Sequence[str], watch: BudgetWatch
) -> Supervised | None:
    """Look at drivers where that decides how jobs are cut; returns an end that was asked for."""
    from dispose_stages.batch.learning import drivers_to_probe

    try:
        unknown = drivers_to_probe(config)
    except DisposeError:  # what is wrong shows when the run begins
        return None
    if not unknown:
        return None
    conductor.tell(f"looking at {unknown} drivers first, so that jobs come out equally long")
    ended = _conduct(conductor, [*command, "--until", "ingest"], watch)
    return ended if ended.stopped_by or watch.spent else None


def _artifact_was_lost(layout: RunLayout) -> bool:
    from dispose_stages.batch.delivery import waiting_units
    from dispose_stages.batch.runner import ARTIFACT_LOST
    from dispose_stages.batch.summary import PlanSummary

    try:
        return ARTIFACT_LOST in waiting_units(layout, PlanSummary.read(layout.summary))
    except StoreError:
        return False


def snakemake_command(
    profile: Path,
    config_files: Sequence[Path],
    *,
    force: str | None = None,
    dry_run: bool = False,
    extra: Sequence[str] = (),
) -> list[str]:
    """The command line; runs in the current folder, with the workflow of this program.

    Args:
        config_files: Later ones override earlier ones, key by key.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(shipped("Snakefile"))]
    command += ["--profile", str(profile), "--configfile", *map(str, config_files)]
    if force is not None:
        command += ["--forcerun", force]
    if dry_run:
        command.append("--dry-run")
    return [*command, *extra]


def _write_overrides(values: dict[str, Any]) -> Path:
    """A configuration file of the settings given as options, which cluster jobs read too.

    Snakemake's own ``--config`` reads numbers inside sections as text.
    """
    text = readable_json(values)  # JSON is YAML
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = Path(".snakemake") / "dispose" / f"{name}.yaml"
    write_text_if_changed(path, text)
    return path


def exit_status(config: Config, ended: Supervised) -> int:
    """0, 3 or 4 for all, some or no rows delivered; 1 if the run failed beside that.

    Of a run that did not come about, what earlier commands delivered says nothing: 1, or 4 where
    no row can run.
    """
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.batch.run_lock import last_holder

    layout = RunLayout(config.run_dir)
    if ended.status and last_holder(layout.run_lock) != ended.pid:
        return EXIT_STATUS["none"] if _no_row_can_run(config) else 1
    try:
        rows = RunOutcomes.read(layout.root).counts()
    except StoreError:
        return ended.status or 1
    return EXIT_STATUS[rows.extent] or min(ended.status, 1)


def _no_row_can_run(config: Config) -> bool:
    from dispose_stages.batch.manifest import read_manifest

    try:
        return not read_manifest(Path(config.manifest), config.parameters).rows
    except ManifestError:
        return False


def _force_pairs(
    layout: RunLayout, stage: str | None, pairs: list[str], *, dry_run: bool
) -> Forced:
    """Make one stage's units of some pairs stale, once; on a dry run only say what would be."""
    from dispose_stages.batch.reruns import renew_stamps, units_of

    if stage is None:
        raise ConfigError("--pairs needs --force STAGE")
    if dry_run:
        return Forced(units={stage: units_of(layout, stage, pairs)})
    units = renew_stamps(layout, stage, pairs)
    say(f"{units} units of {stage} are computed anew", err=True)
    return Forced()
