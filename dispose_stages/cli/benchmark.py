"""``dispose benchmark``: self-driven runs of every variant, ending in one table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispose_stages.atomic import write_text
from dispose_stages.cli.options import (
    EXISTING_FILE,
    FOLDER,
    WithSnakemake,
    config_option,
    profile_option,
    settings_option,
)
from dispose_stages.cli.run import run as run_command
from dispose_stages.cli.table import table_of
from dispose_stages.cli.terminal import say
from dispose_stages.config import load_config
from dispose_stages.config_text import merged, parse_settings, read_config_file
from dispose_stages.errors import ConfigError
from dispose_stages.shipped import shipped

if TYPE_CHECKING:
    from dispose_stages.benchmark.table import Table

_DOCUMENTED = ("demo", "damage")
_DELIVERED = {0, 3}
"""Status of runs that have something to be compared."""


@click.command(cls=WithSnakemake)
@click.argument("what", metavar="demo|tiktok|unseen|damage|MANIFEST")
@click.option(
    "--root",
    type=FOLDER,
    help="Folder of the videos, for tiktok (sequences 00335 to 00340) and unseen (all of them).",
)
@profile_option
@config_option
@settings_option
@click.option(
    "--write",
    type=EXISTING_FILE,
    help="With demo or damage: the document whose table is replaced (docs/benchmark.md).",
)
@click.option(
    "--efforts",
    help="Values of sampling.effort with commas between: a run of each, compared pair by pair.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would run.")
@click.argument("extra", nargs=-1, metavar="[-- SNAKEMAKE_ARGUMENTS]")
@click.pass_context
def benchmark(
    context: click.Context,
    *,
    what: str,
    root: Path | None,
    profile: Path,
    config_file: Path,
    settings: tuple[str, ...],
    write: Path | None,
    efforts: str | None,
    dry_run: bool,
    extra: tuple[str, ...],
) -> None:
    """Run videos that drive their own first frame, in all variants, and print one table.

    The manifest is written beside the results, the run is an ordinary one (the same command
    continues it), and the table is saved as Markdown, CSV, LaTeX and JSON. A MANIFEST of one's own
    gets every row in all variants. `demo` renders its videos: procedural figures, for the bundle
    that comes with the program. `damage` runs nothing: it measures known faults in procedural
    truth. Exit status as of `dispose run`.
    """
    if write is not None and (what not in _DOCUMENTED or efforts):
        raise ConfigError(f"--write goes with {' or '.join(_DOCUMENTED)} alone")
    if write is not None:
        from dispose_stages.benchmark.document import with_part

        with_part(write.read_text(encoding="utf-8"), what, "")  # rather now than minutes later
    if what == "damage":
        _damage(write)
        return
    values = parse_settings(settings)
    values.setdefault("run", f"benchmark_{Path(what).stem}")
    own = merged(read_config_file(config_file), values)
    score = own.get("score") or {}
    if not score.get("metrics"):
        values = merged(values, {"score": {"metrics": ["frames", "pose"]}})
    if what == "demo":
        from dispose_stages.benchmark.demo import PARAMETERS

        values = merged({"parameters": PARAMETERS}, values)
    runs: dict[Path, int] = {}
    for own in _per_effort(values, efforts):
        config = load_config(merged(read_config_file(config_file), own))
        manifest = config.run_dir / "benchmark.csv"
        write_text(manifest, _manifest(what, root, manifest.parent))
        status = _run(context, profile, config_file, manifest, own, extra, dry_run=dry_run)
        runs[config.run_dir] = status
        if status not in _DELIVERED:
            break
    if status in _DELIVERED and not dry_run:
        table = _print_table([*runs], paper=what in {"tiktok", "unseen"})
        if write is not None:
            _write_demo(write, table)
    sys.exit(max(runs.values()) if status in _DELIVERED else status)


def _per_effort(values: dict[str, Any], efforts: str | None) -> Iterator[dict[str, Any]]:
    """The settings of every run."""
    if efforts is None:
        yield values
        return
    for effort in dict.fromkeys(word.strip() for word in efforts.split(",")):
        own = {"run": f"{values['run']}_{effort}", "sampling": {"effort": effort}}
        yield merged(values, own)


def _manifest(what: str, root: Path | None, folder: Path) -> str:
    from dispose_stages.benchmark.manifests import (
        find_videos,
        self_driven_variants,
        with_variants,
    )
    from dispose_stages.benchmark.paper import TIKTOK_SEQUENCES

    if what == "demo":
        from dispose_stages.benchmark.demo import render_drivers

        return self_driven_variants(render_drivers(folder / "drivers"), folder)
    if what in {"tiktok", "unseen"}:
        if root is None:
            raise ConfigError(f"dispose benchmark {what} needs --root: the folder of its videos")
        names = TIKTOK_SEQUENCES if what == "tiktok" else None
        return self_driven_variants(find_videos(root, names), folder)
    return with_variants(Path(what))


def _run(
    context: click.Context,
    profile: Path,
    config_file: Path,
    manifest: Path,
    values: dict[str, object],
    extra: tuple[str, ...],
    *,
    dry_run: bool,
) -> int:
    settings = tuple(_settings(values))
    try:
        context.invoke(
            run_command,
            profile=profile,
            config_file=config_file,
            manifest=manifest,
            settings=settings,
            force=None,
            pairs=None,
            dry_run=dry_run,
            extra=extra,
        )
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _settings(values: dict[str, object], prefix: str = "") -> list[str]:
    """Nested values as ``key=value``."""
    lines = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines += _settings(value, f"{name}.")
        elif isinstance(value, list):
            lines.append(f"{name}=[{', '.join(map(str, value))}]")
        else:
            lines.append(f"{name}={'null' if value is None else value}")
    return lines


def _print_table(runs: Sequence[Path], *, paper: bool) -> Table:
    from dispose_stages.benchmark.rendering import FORMATS, render

    table = table_of(runs, ["variant" if len(runs) == 1 else "run"], paper=paper)
    for form in FORMATS:
        write_text(runs[-1] / f"benchmark_table.{form}", render(table, form))
    say(render(table, "md").rstrip("\n"))
    return table


def _write_demo(document: Path, table: Table) -> None:
    from dispose_stages.benchmark.demo import PART, SHOWN
    from dispose_stages.benchmark.document import replace_part
    from dispose_stages.benchmark.rendering import excerpt

    replace_part(document, PART, excerpt(table, SHOWN))


def _damage(document: Path | None) -> None:
    from dispose_stages.benchmark.damage import PART, as_markdown, load_detector, measure
    from dispose_stages.benchmark.document import replace_part

    table = as_markdown(measure(load_detector(shipped("bundles/small"))))
    if document is not None:
        replace_part(document, PART, table)
    say(table.rstrip("\n"))
