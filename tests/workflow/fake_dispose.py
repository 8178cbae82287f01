"""Stands in for the command ``dispose`` in tests of the rules: real jobs, stages without networks.

Every artifact's content follows from parameters and upstream content, as real ones' does; every
computation adds a line to ``calls.log``. ``FAKE_FAIL=stage:label`` makes a unit fail;
``FAKE_BREAK=stage`` makes the job of a stage crash. ``FAKE_SECONDS`` makes units slow; what each
is about to write is noted in ``begun.log``. ``FAKE_DEVICE`` is what stages with networks say they
ran on.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from dispose_stages.atomic import canonical_json, readable_json, write_text
from dispose_stages.batch import job
from dispose_stages.batch.failures import write_rejects
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config, write_stage_weights
from dispose_stages.batch.unit import Result
from dispose_stages.config import GPU_STAGES
from dispose_stages.errors import Reason, UnitError
from dispose_stages.weights.verification import complete_stages


class FakeStage:
    """A stage whose artifacts are digests of what went in."""

    revision = 1
    optional: frozenset[str] = frozenset()

    def __init__(self, name):
        self.name = name

    def repository(self, context):
        self.context = context
        return self

    def open(self, context):
        return self

    def read(self, unit):
        return {"unit": unit}

    def compute(self, *, unit):
        if os.environ.get("FAKE_FAIL") == f"{unit.stage}:{unit.label}":
            raise UnitError(Reason.NUMERIC, "as the test wants it")
        with Path("calls.log").open("a") as stream:
            stream.write(f"{unit.stage} {unit.label}\n")
        with Path("begun.log").open("a") as stream:
            stream.write(f"{self._path(unit)}\n")
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        content = [unit.params, {role: item.digest for role, item in unit.inputs.items()}]
        if unit.stage == "ingest":
            content = unit.source("media").read_text()
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def _path(self, unit):
        if unit.stage == "mux":
            return self.context.videos / f"{unit.id}.mp4"
        if unit.stage == "ingest":
            status = unit.source("media").stat()
            return Path("probes") / f"{unit.id}-{status.st_mtime_ns}"
        return self.context.store.path(unit.stage, unit.key)

    def find(self, unit):
        try:
            key, digest = self._path(unit).read_text().split()
        except FileNotFoundError:
            return None
        return (
            Result(key=unit.key, digest=digest)
            if key == unit.key or unit.stage == "ingest"
            else None
        )

    def commit(self, unit, artifact):
        write_text(self._path(unit), f"{unit.key} {artifact}")
        if unit.stage == "mux":
            write_sidecar(self.context.videos, unit.id, unit.key, artifact)
        return Result(key=unit.key, digest=artifact)


def write_sidecar(videos, pair_id, key, digest):
    """What a delivered video says of itself."""
    facts = dict.fromkeys(("frames", "height", "width", "fps"), 1)
    content = {
        "format": "dispose-video",
        "format_version": 1,
        "pair_id": pair_id,
        "key": key,
        "file": f"{pair_id}.mp4",
        "digest": digest,
        "frames_folder": None,
        "size_bytes": (videos / f"{pair_id}.mp4").stat().st_size,
        "provenance": {},
        "libraries": {},
        **facts,
    }
    write_text(videos / f"{pair_id}.json", readable_json(content))


def main(arguments):
    """The commands that rules call."""
    command, options = arguments[0], dict(zip(arguments[1::2], arguments[2::2], strict=True))
    layout = RunLayout(Path(options["--run-dir"]))
    if command == "fingerprint":
        stages = complete_stages(read_run_config(layout).models.folder, "tiny")
        write_stage_weights(layout, "tiny", dict.fromkeys(stages, ""))
        return 0
    if command == "report":
        page = options["--only"] == "page"
        for path in [layout.report] if page else [layout.failures, layout.index, layout.scores]:
            write_text(path, "fake")
        if not page:
            write_rejects(RunOutcomes.read(layout.root))
        return 0
    if os.environ.get("FAKE_BREAK") == command:
        return 1
    if command in GPU_STAGES and (device := os.environ.get("FAKE_DEVICE")):
        job.settle_device = lambda *_: device
    return perform_shard(
        command,
        layout.root,
        options["--shard"],
        attempt=int(options["--attempt"]),
        stage=FakeStage(command),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
