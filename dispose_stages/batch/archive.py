"""A run somewhere else: what is needed to look at it, to score it and to make a video again.

Everything lies below one folder, with the paths it has in the working directory, so that the run
works from there; media from elsewhere come along as well. Files are copied under temporary names
and never changed or removed where they came from, so that a copy that was cut short goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dispose_stages.atomic import TEMPORARY_SUFFIX, readable_json, replacing, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.manifest_columns import COLUMNS, MEDIA_COLUMNS
from dispose_stages.batch.manifest_text import csv_text, read_table
from dispose_stages.batch.needed import needed_artifacts
from dispose_stages.batch.run_files import read_pairs, read_run_config
from dispose_stages.batch.run_lock import RunLock
from dispose_stages.batch.strangers import STRANGERS_REMEDY, stranger_videos
from dispose_stages.config import Config
from dispose_stages.config_models import BUNDLE_ROOTS
from dispose_stages.errors import ConfigError, StoreError
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.files import file_digest
from dispose_stages.store.freed import NAME

CHECKSUMS = "checksums.sha256"
CONFIG = "config.yaml"
_LEFT_BEHIND = {"logs", "benchmarks", "removed", "exports"}
"""Folders of a run that nobody needs to look, score or reproduce."""


def archive_run(
    layout: RunLayout, to: Path, on_progress: Callable[[int, int, str], None] = lambda *_: None
) -> tuple[list[Path], tuple[str, ...]]:
    """Copy a run; what is there already and says the same is not copied again.

    Args:
        to: The folder; made where it is not there.
        on_progress: Called with (files so far, of how many, where).

    Returns:
        The files that it holds, and media that are not there any more.

    Raises:
        StoreError: There is no such run, a file changes meanwhile, or videos belong to no row.
        ConfigError: The folder lies inside the run.
        ManifestError: The manifest cannot be read any more.
        RunBusyError: Another process works on the run.
    """
    config, rows = read_run_config(layout), read_pairs(layout)
    _check(layout, rows, to)
    with RunLock(layout.run_lock):
        media, missing = _media(rows)
        wanted = {**_run_files(layout, config), **_artifacts(layout, config), **media}
        texts = _texts(config, rows)
        _clear(to, {*wanted, *texts, CHECKSUMS})
        sums: dict[str, str] = {}
        for number, (place, source) in enumerate(sorted(wanted.items()), start=1):
            sums[place] = _copy(source, to / place)
            on_progress(number, len(wanted), place)
        for place, text in texts.items():
            sums[place] = _write(to / place, text)
    lines = "".join(f"{digest}  {place}\n" for place, digest in sorted(sums.items()))
    write_text(to / CHECKSUMS, lines)
    return [to / place for place in sums], missing


def _clear(to: Path, places: Collection[str]) -> None:
    """Remove what a killed copy left of these files; all else in the folder is somebody's."""
    for path in to.rglob(f".*{TEMPORARY_SUFFIX}"):
        target = path.with_name(path.name[1:].rsplit(".", 2)[0])
        if target.relative_to(to).as_posix() in places:
            path.unlink()


def _texts(config: Config, rows: Sequence[Row]) -> dict[str, str]:
    """What the archive says in its own words."""
    settled = readable_json(_settled(config).model_dump(mode="json"))
    planned = (_run_place(config) / "plan/config.json").as_posix()
    manifest = _place_of(config.manifest)
    # JSON is YAML.
    return {planned: settled, CONFIG: settled, manifest: _manifest_text(config, rows)}


def _check(layout: RunLayout, rows: Sequence[Row], to: Path) -> None:
    if to.resolve().is_relative_to(layout.root.resolve()):
        raise ConfigError(f"{to} lies inside the run itself")
    if strangers := stranger_videos(layout, rows):
        raise StoreError(f"{len(strangers)} videos belong to no row of the run; {STRANGERS_REMEDY}")


def _run_place(config: Config) -> Path:
    return Path("results", config.run)


def _settled(config: Config) -> Config:
    """The configuration that the run has in the archive, whose folder is the working directory."""
    store = config.store.model_copy(update={"path": "store"})
    models = config.models
    if models.root != BUNDLE_ROOTS.get(models.bundle):  # which is found anywhere
        models = models.model_copy(update={"root": str(models.folder.absolute())})
    places = {"results": "results", "manifest": _place_of(config.manifest)}
    return config.model_copy(update={**places, "store": store, "models": models})


def _place_of(path: str) -> str:
    """Where a file of the user's lies in an archive: where it lay, if that was below here."""
    given = (
        Path(os.path.relpath(path)) if Path(path).is_absolute() else Path(os.path.normpath(path))
    )
    if ".." not in given.parts:
        return given.as_posix()
    folder = hashlib.sha256(str(Path(path).absolute().parent).encode()).hexdigest()[:12]
    return f"media/{folder}/{Path(path).name}"


def _run_files(layout: RunLayout, config: Config) -> dict[str, Path]:
    root, found = _run_place(config), {}
    for folder, names, files in os.walk(layout.root):
        names[:] = [n for n in sorted(names) if not n.startswith(".") and n not in _LEFT_BEHIND]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path not in {layout.config, layout.run_lock}:
                found[(root / path.relative_to(layout.root)).as_posix()] = path
    return found


def _artifacts(layout: RunLayout, config: Config) -> dict[str, Path]:
    """Those that the run names and that are there, and notes on what was freed."""
    store = ArtifactStore(Path(config.store))
    found: dict[str, Path] = {}
    for stage, key in needed_artifacts(layout):
        path = store.path(stage, key)
        for each in (path, path.parent / NAME):
            if each.is_file():
                found[f"store/{each.relative_to(store.root).as_posix()}"] = each
    return found


def _media(rows: Sequence[Row]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Sources and true videos of all rows; and those that are gone."""
    paths = {p for r in rows for p in (r.reference_image, r.driving_video, r.truth_video) if p}
    there = {path for path in paths if Path(path).is_file()}
    return {_place_of(path): Path(path) for path in there}, tuple(sorted(paths - there))


def _manifest_text(config: Config, rows: Sequence[Row]) -> str:
    """The manifest with the media's places in the archive, and every pair's id.

    Raises:
        ManifestError: The manifest cannot be read any more.
    """
    planned = {row.line: row for row in rows}
    lines = read_table(Path(config.manifest), COLUMNS)
    _, header = next(lines, (0, []))
    names = header if "pair_id" in header else ["pair_id", *header]
    table = [names]
    folder = Path(_place_of(config.manifest)).parent
    for line, cells in lines:
        values = dict(zip(header, cells, strict=False))
        if row := planned.get(line):
            values["pair_id"] = row.pair_id
            for column in MEDIA_COLUMNS:
                if values.get(column):
                    place = _place_of(getattr(row, column))
                    values[column] = os.path.relpath(place, folder)
        table.append([values.get(name, "") for name in names])
    return csv_text(table)


def _copy(source: Path, target: Path) -> str:
    """Copy with times unless it is there; returns the digest of the copy."""
    before = source.stat()
    if target.is_file():
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            return file_digest(target)
    with replacing(target) as temporary:
        shutil.copy2(source, temporary)
        digest = file_digest(temporary)
    if file_digest(source) != digest:
        raise StoreError(f"{source} changed while it was copied; the same command goes on")
    return digest


def _write(path: Path, text: str) -> str:
    write_text(path, text)
    return hashlib.sha256(text.encode()).hexdigest()
