"""Everything that was made from a source, over all runs: found by provenance, removed on request.

Artifacts and videos say what they were made from, back to the digests of the media; nothing else is
asked, so that results of earlier plans and parameters are found as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispose_stages.atomic import write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.run_lock import RunLock
from dispose_stages.errors import ArtifactCorruptError, ExportError, StoreError
from dispose_stages.export.publish import lock_of
from dispose_stages.export.registry import registered
from dispose_stages.export.selection import read_index
from dispose_stages.export.settings import read_takedown
from dispose_stages.export.withdrawal import Withdrawal, affected
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import freed_heads, provenance
from dispose_stages.store.listing import stored_files
from dispose_stages.store.shelf import VideoShelf

LIST = "takedown.txt"
_LIST_HEAD = "# Sources that were taken down (SHA-256); exports of these results leave them out.\n"
_FACTS = "ingest"
Reads = tuple[tuple[str, str, str], ...]
"""Stage, key and digest of what an artifact was made from."""


@dataclass(slots=True)
class Found:
    """What hangs on the sources.

    Attributes:
        runs: Runs that made some of it.
        artifacts: Files of the stores, those that nothing else hangs on first.
        videos: Files and folders of delivered videos.
        others: Facts about the sources, reports with pictures, files under way.
        datasets: Exports, with what they hold of it.
        sources: The media themselves, where they were; they are the user's.
        rows: Lines of manifests that name them.
        unknown: Artifacts whose origin cannot be told any more.
    """

    runs: list[RunLayout] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    datasets: list[Withdrawal] = field(default_factory=list)
    sources: set[Path] = field(default_factory=set)
    rows: list[str] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)

    def paths(self) -> Iterator[Path]:
        """Everything that is removed, outside data sets."""
        yield from self.videos
        yield from self.artifacts
        yield from self.others


def standing_list(results: Path) -> Path | None:
    """The list that all exports of these results honour, if there is one."""
    path = results / LIST
    return path if path.exists() else None


def find(results: Path, digests: frozenset[str]) -> Found:
    """Look through all runs below a folder, their stores and their exports.

    Raises:
        StoreError: There is no run.
    """
    layouts = [RunLayout(path.parents[1]) for path in sorted(results.glob("*/plan/config.json"))]
    if not layouts:
        raise StoreError(f"{results} holds no runs")
    found = Found()
    stores = {_store_of(layout) for layout in layouts}
    derived: set[tuple[str, str]] = set()
    for store in sorted(stores):
        derived |= _search_store(ArtifactStore(store), digests, found)
    for layout in layouts:
        _search_run(layout, digests, derived, found)
    return found


def _store_of(layout: RunLayout) -> Path:
    """Read as plain JSON: runs of earlier versions count too."""
    try:
        store = parse(read_bytes(layout.config))["store"]
        return Path(store["path"] if isinstance(store, dict) else store).absolute()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{layout.config} cannot be read: {error!r}") from None


def _search_store(
    store: ArtifactStore, digests: frozenset[str], found: Found
) -> set[tuple[str, str]]:
    """Note the files of a store; returns stage and key of the artifacts among them."""
    stages = tuple(path.name for path in sorted(store.root.glob("*")) if path.is_dir())
    files = [f for f in stored_files(store.root, stages) if f.stage != _FACTS]
    reads = {(f.stage, f.key): _reads_of(store, f.stage, f.key) for f in files if f.finished}
    for stage in stages:
        for key, _ in freed_heads(store, stage):
            reads.setdefault((stage, key), _reads_of(store, stage, key))
    depths = _depths(reads, digests)
    derived = {place for place, depth in depths.items() if depth}
    for place in sorted(derived, key=lambda place: (-depths[place], place)):
        if (path := store.path(*place)).exists():
            found.artifacts.append(path)
    for file in files:
        place = (file.stage, file.key)
        if file.finished and reads[place] is None:
            found.unknown.append(file.path)
        # Of what is under way nobody knows the origin; it is made again where it is still wanted.
        elif not file.finished and (place in derived or place not in reads):
            found.others.append(file.path)
    for path in sorted((store.root / _FACTS).rglob("*.json")):
        known = _json(path)
        if digests & {known.get("digest"), (known.get("facts") or {}).get("digest")}:
            found.others.append(path)
            found.sources.add(Path(str(known.get("path"))))
    return derived


def _reads_of(store: ArtifactStore, stage: str, key: str) -> Reads | None:
    try:
        upstream = provenance(store, stage, key)["upstream"]
        return tuple((str(u["stage"]), str(u["key"]), str(u["digest"])) for u in upstream.values())
    except (StoreError, ArtifactCorruptError, KeyError, TypeError, AttributeError):
        return None


def _depths(
    reads: Mapping[tuple[str, str], Reads | None], digests: frozenset[str]
) -> dict[tuple[str, str], int]:
    """How many steps an artifact is from the sources, the longest way; 0 if it is not of them."""
    depths: dict[tuple[str, str], int] = {}

    def depth(place: tuple[str, str]) -> int:
        if place not in depths:
            depths[place] = 0  # damaged provenance may go round in circles
            below = [
                int(bool({key, digest} & digests)) if stage == _FACTS else depth((stage, key))
                for stage, key, digest in reads.get(place) or ()
            ]
            depths[place] = 1 + max(below) if any(below) else 0
        return depths[place]

    for place in reads:
        depth(place)
    return depths


def _search_run(
    layout: RunLayout, digests: frozenset[str], derived: set[tuple[str, str]], found: Found
) -> None:
    videos = list(_videos_of(layout, digests, derived))
    datasets = [w for folder in registered(layout) if (w := affected(folder, digests)) is not None]
    rows = list(_rows_of(layout, digests))
    found.videos += videos
    found.datasets += [w for w in datasets if w.folder not in {d.folder for d in found.datasets}]
    found.rows += rows
    if videos or rows:
        found.runs.append(layout)
        staging = VideoShelf(layout.videos).folder / ".staging"
        others = (layout.report, layout.report_files, staging)
        found.others += [path for path in others if path.exists()]


def _videos_of(
    layout: RunLayout, digests: frozenset[str], derived: set[tuple[str, str]]
) -> Iterator[Path]:
    for sidecar in sorted(layout.videos.glob("*.json")):
        content = _json(sidecar)
        provenance = content.get("provenance") or {}
        upstream = (provenance.get("upstream") or {}).values()
        of_source = any((u.get("stage"), u.get("key")) in derived for u in upstream)
        told = content.get("metadata") or {}
        if of_source or digests & {told.get("reference_digest"), told.get("driver_digest")}:
            # The sidecar last: without it nothing tells what the video is.
            names = (content.get("file"), content.get("frames_folder"))
            for name in (name for name in names if isinstance(name, str)):
                path = layout.videos / Path(name).name
                if path.exists():
                    yield path
            yield sidecar


def _rows_of(layout: RunLayout, digests: frozenset[str]) -> Iterator[str]:
    try:
        table = read_index(layout.index)
    except ExportError:  # the rows are advice; what was made is found without the index
        return
    columns = ["line", "pair_id", "reference_digest", "driver_digest"]
    for record in table.select(columns).to_pylist():
        if digests & {record["reference_digest"], record["driver_digest"]}:
            yield f"{layout.root.name}: line {record['line']} ({record['pair_id']})"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse(read_bytes(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove(results: Path, digests: frozenset[str], found: Found) -> None:
    """Remove what was found, and have later exports leave the sources out.

    May be stopped at any time and called again with what is then found.

    Raises:
        RunBusyError: A run that made some of it is working, or an export.
    """
    locks = [layout.run_lock for layout in found.runs]
    locks += [lock_of(dataset.folder) for dataset in found.datasets]
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(RunLock(lock))
        remember(results, digests)
        for dataset in found.datasets:
            dataset.carry_out(digests)
        for path in found.paths():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def remember(results: Path, digests: Iterable[str]) -> None:
    """Add sources to the list that all exports of these results honour."""
    path = results / LIST
    known = read_takedown(path) if path.exists() else frozenset()
    lines = [f"{digest}\n" for digest in sorted(known | set(digests))]
    write_text(path, _LIST_HEAD + "".join(lines))
