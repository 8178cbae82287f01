"""The stage ``ingest``: facts about media files, remembered until a file changes.

A file is known again by path, size and times; the ledger holds none of these, only
what the content says, so a file that was merely touched changes nothing downstream. Results are
small and kept as ``store/ingest/<k2>/<key>.json``.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.batch.stage import Stage
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import Compute
from dispose_stages.errors import Reason, UnitError, WarningCode
from dispose_stages.ingest.unit import REVISION, IngestParams
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.files import FileState
from dispose_stages.store.media import MediaProbe, check_frame, damage_of, probe_file, probe_media
from dispose_stages.store.sources import ContentMemory, state_path

FORMAT = "dispose-probe"
_PROBE = TypeAdapter(MediaProbe)
_logger = logging.getLogger(__name__)


class ProbeCache:
    """Facts about files, by state.

    Args:
        root: Folder of the small JSON files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, unit: Unit) -> Result | None:
        """What is known of the file as it is now."""
        state = FileState.of(unit.source("media"))
        if state is None:
            return None
        try:
            content = parse(read_bytes(self._path(unit, state)))
            known = content["format"] == FORMAT
            probe = _PROBE.validate_python(content["facts"]) if known else None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return _result(probe) if probe is not None else None

    def commit(self, unit: Unit, artifact: tuple[FileState, MediaProbe]) -> Result:
        """Remember the facts of a file in that state."""
        state, probe = artifact
        content = {"format": FORMAT, "path": state.path, "facts": asdict(probe)}
        write_text(self._path(unit, state), readable_json(content))
        ContentMemory(self.root).remember(state, probe.digest)
        return _result(probe)

    def _path(self, unit: Unit, state: FileState) -> Path:
        # The unit's key holds the stamp of a forced re-run, which looks at the file again.
        return state_path(self.root, unit.key, state)


def _result(probe: MediaProbe) -> Result:
    damaged = probe.missing_frames or probe.damaged_frames
    return Result(
        key=probe.digest,
        digest=probe.content_digest,
        facts=asdict(probe),
        warnings=(WarningCode.DAMAGED_VIDEO,) if damaged else (),
    )


class Prober:
    """Decodes files to their end and takes digests of their content."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def read(self, unit: Unit) -> dict[str, Any]:
        """Look at one file.

        Raises:
            UnitError: It cannot be used as what the manifest says it is.
        """
        path = unit.source("media")
        before = FileState.of(path)
        probe = _probe(path, IngestParams.read(unit), self._compute)
        return {"before": before, "probe": probe, "after": FileState.of(path)}

    def compute(
        self, *, before: FileState | None, probe: MediaProbe, after: FileState | None
    ) -> tuple[FileState, MediaProbe]:
        """The state the file was in and its facts, if they are those of one file.

        Raises:
            UnitError: ``source_changed`` where the file changed meanwhile.
        """
        if before is None or before != after:
            raise UnitError(Reason.SOURCE_CHANGED, "the file changed while it was being read")
        if damage := damage_of(Path(before.path), probe):
            _logger.warning("%s", damage)
        return before, probe


def _probe(path: Path, params: IngestParams, compute: Compute) -> MediaProbe:
    """What the file is; a frame of a video counts as an image of that size."""
    if params.kind == "weights":
        return probe_file(path)
    if params.reference_frame is None:
        return probe_media(path, kind=params.kind, compute=compute)
    video = probe_media(path, kind="video", compute=compute)
    check_frame(path, params.reference_frame, video.frames)
    return video


STAGE = Stage(
    "ingest",
    REVISION,
    open=lambda context: Prober(context.config.compute),
    repository=lambda context: ProbeCache(context.store.root / "ingest"),
)
