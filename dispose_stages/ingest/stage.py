"""The stage ``ingest``: facts about media files, remembered until a file changes.

A file is known again by path, size and modification time; the ledger holds none of these, only
what the content says, so a file that was merely touched changes nothing downstream. Results are
small and kept as ``store/ingest/<k2>/<key>.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.batch.unit import Committed, Context, ReadyUnit, Repository, Worker
from dispose_stages.errors import Reason, UnitError
from dispose_stages.ingest import REVISION
from dispose_stages.store.media import MediaProbe, probe_media

FORMAT = "dispose-probe"


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells a changed file from an unchanged one without reading it."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """None where there is no such file."""
        try:
            status = os.stat(path)  # noqa: PTH116 - one call serves size and time
        except (OSError, ValueError):
            return None
        return cls(str(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Probed:
    """Facts of a file and the state it was in when they were taken."""

    state: FileState
    probe: MediaProbe


class ProbeCache:
    """Facts about files, by state.

    Args:
        root: Folder of the small JSON files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, unit: ReadyUnit) -> Committed | None:
        """What is known of the file as it is now."""
        state = FileState.of(unit.sources["media"])
        if state is None:
            return None
        try:
            content = json.loads(self._path(unit, state).read_text(encoding="utf-8"))
            facts = content["facts"]
            probe = MediaProbe(**facts) if content["format"] == FORMAT else None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return _committed(probe) if probe is not None else None

    def commit(self, unit: ReadyUnit, artifact: Probed) -> Committed:
        """Remember the facts."""
        content = {"format": FORMAT, "path": artifact.state.path, "facts": asdict(artifact.probe)}
        write_text(self._path(unit, artifact.state), readable_json(content))
        return _committed(artifact.probe)

    def _path(self, unit: ReadyUnit, state: FileState) -> Path:
        # The unit's key holds the stamp of a forced re-run, which looks at the file again.
        identity = [unit.key, asdict(state)]
        key = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:40]
        return self.root / key[:2] / f"{key}.json"


def _committed(probe: MediaProbe) -> Committed:
    facts: dict[str, Any] = asdict(probe)
    return Committed(key=probe.digest, digest=probe.digest, facts=facts)


class Prober:
    """Reads headers and content digests."""

    def compute(self, unit: ReadyUnit) -> Probed:
        """Look at one file.

        Raises:
            UnitError: It cannot be used as what the manifest says it is.
        """
        path = unit.sources["media"]
        before = FileState.of(path)
        probe = probe_media(path, kind=unit.params.get("kind"))
        if before is None or FileState.of(path) != before:
            raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: changed while it was being read")
        if not probe.frames:
            raise UnitError(Reason.NO_FRAMES, f"{path}: holds no frame")
        return Probed(before, probe)


class IngestStage:
    """Media files to facts."""

    name: ClassVar[str] = "ingest"
    revision: ClassVar[int] = REVISION

    def repository(self, context: Context) -> Repository:
        """Facts lie beside the artifacts."""
        return ProbeCache(context.store.root / self.name)

    def open(self, context: Context) -> Worker:  # noqa: ARG002 - nothing to load
        """Nothing is loaded."""
        return Prober()


STAGE = IngestStage()
