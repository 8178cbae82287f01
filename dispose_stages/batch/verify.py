"""Is everything that a run's files promise still true? Reads all of it, byte by byte.

Planning notices what is gone; this finds what was changed in place. Whatever is damaged is taken
out of use, so that the next run makes it again and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from dispose_stages.batch.audit import ShardId
from dispose_stages.batch.control import Control
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.run_files import read_pairs, read_run_config, read_weights
from dispose_stages.batch.strangers import STRANGERS_REMEDY, stranger_videos
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import STAGES, STORED_STAGES
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    DisposeError,
    NewerVersionError,
    StoreError,
)
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.files import file_digest
from dispose_stages.store.listing import stored_files
from dispose_stages.store.shelf import VideoShelf


class Verification:
    """One look at a run; damage is taken out of use as it is found, unless only looked for.

    Args:
        repair: Take damaged files out of use.
        on_progress: Called with (looked at, of how many, what).

    Attributes:
        again: Jobs that have to run again for what was found; planning mends all else.
    """

    def __init__(
        self,
        layout: RunLayout,
        *,
        repair: bool,
        on_progress: Callable[[int, int, str], None] = lambda *_: None,
    ) -> None:
        self.layout = layout
        self.repair = repair
        self.again: set[ShardId] = set()
        self._progress = on_progress
        config = read_run_config(layout)
        self._store = ArtifactStore(Path(config.store))
        self._keeps = config.store.keeps
        self._shelf = VideoShelf(layout.videos)

    def damages(self, *, whole_store: bool = False) -> Iterator[tuple[Path, str]]:
        """All that is not what it should be, and how: plan, ledgers, artifacts and videos.

        Args:
            whole_store: Look at artifacts of other runs too.

        Raises:
            StoreError: There is no such run.
            NewerVersionError: Something was written by a newer version of this program.
        """
        yield from self._plan()
        seen: set[Path] = set()
        todo = list(self._done())
        for number, (shard, unit, result) in enumerate(todo, start=1):
            if shard[0] in STORED_STAGES:
                seen.add(self._store.path(shard[0], result.key))
            if damage := self._result(shard, unit, result):
                self.again.add(shard)
                yield damage
            self._progress(number, len(todo), f"{shard[0]} {unit}")
        yield from self._strangers()
        if whole_store:
            yield from self._others(seen)

    def _strangers(self) -> Iterator[tuple[Path, str]]:
        """Videos that the run no longer owns."""
        with suppress(StoreError):  # said already
            for pair_id in stranger_videos(self.layout, read_pairs(self.layout)):
                what = f"belongs to no row of the manifest; {STRANGERS_REMEDY}"
                yield self.layout.videos / pair_id, what

    def _plan(self) -> Iterator[tuple[Path, str]]:
        """Small files; planning writes most of them anew, and their rules the others."""
        layout = self.layout
        yield from self._small(layout.summary, PlanSummary.read, remove=False)
        yield from self._small(layout.pairs, lambda _: read_pairs(layout), remove=False)
        yield from self._small(layout.control, Control.read, remove=False)
        yield from self._small(layout.weights, lambda _: read_weights(layout))
        yield from self._small(layout.index, _read_index)
        for path in layout.existing(layout.shard, *STAGES):
            yield from self._small(path, Shard.read, remove=False)
        for path in layout.existing(layout.ledger, *STAGES):
            yield from self._small(path, Ledger.read)

    def _small(
        self, path: Path, read: Callable[[Path], object], *, remove: bool = True
    ) -> Iterator[tuple[Path, str]]:
        if path.exists() and (what := _complaint(read, path)):
            if self.repair and remove:
                _discard(path)
            yield path, what

    def _done(self) -> Iterator[tuple[ShardId, str, Result]]:
        for path in self.layout.existing(self.layout.ledger, *STORED_STAGES, "mux"):
            with suppress(StoreError):
                for unit, result in Ledger.read(path).units.items():
                    if result.status is Status.DONE:
                        yield (path.parent.name, path.stem), unit, result

    def _result(self, shard: ShardId, unit: str, result: Result) -> tuple[Path, str] | None:
        if shard[0] == "mux":
            return self._video(unit, result)
        path = self._store.path(shard[0], result.key)
        if not self._keeps(shard[0]) and not path.exists():
            return None  # it was freed; where something needs it, planning makes it again
        try:
            found = self._store.verified_digest(shard[0], result.key)
        except (ArtifactMissingError, ArtifactCorruptError) as error:
            if self.repair:
                _discard(path)
            return path, str(error)
        if found == result.digest:
            return None
        # Whole in itself, so it is the ledger that speaks of something else.
        return path, "is not the content that the ledger names"

    def _video(self, pair_id: str, result: Result) -> tuple[Path, str] | None:
        found = self._shelf.find(pair_id, result.key)
        path = self._shelf.folder / str(result.facts.get("file", pair_id))
        if found is None:
            what = "the video or its sidecar is gone, foreign, or of another size"
        elif result.digest != found.digest or file_digest(found.path) != found.digest:
            what = "is not the video that was delivered"
        else:
            return None
        if self.repair:
            self._shelf.recall(pair_id)
        return path, what

    def _others(self, seen: set[Path]) -> Iterator[tuple[Path, str]]:
        files = [
            file
            for file in stored_files(self._store.root, STORED_STAGES)
            if file.finished and file.path not in seen
        ]
        for number, file in enumerate(files, start=1):
            what = _complaint(self._store.verified_digest, file.stage, file.key)
            self._progress(number, len(files), f"{file.stage} {file.key}")
            if what:
                if self.repair:
                    _discard(file.path)
                yield file.path, what


def _complaint(read: Callable[..., object], *arguments: object) -> str:
    try:
        read(*arguments)
    except NewerVersionError:  # it is not ours to take out of use
        raise
    except (DisposeError, OSError) as error:
        return str(error)
    return ""


def _read_index(path: Path) -> None:
    import pyarrow.parquet as pq

    try:
        pq.read_table(path)
    except (OSError, ValueError) as error:
        raise ArtifactCorruptError(f"{path}: {error}") from None


def _discard(path: Path) -> None:
    """Remove what has an artifact's name; a folder with such a name is moved aside."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.damaged"))
    else:
        path.unlink(missing_ok=True)
