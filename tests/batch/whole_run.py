"""A run that is planned as `dispose run` plans it, and whose jobs compute without networks."""

from pathlib import Path

import numpy as np

from dispose_stages.artifacts import Latents
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.plan import revision
from dispose_stages.batch.prepare import Forced, PreparedRun, prepare_run
from dispose_stages.batch.run_files import write_stage_weights
from dispose_stages.batch.unit import Result
from dispose_stages.config import STAGES, STORED_STAGES
from tests.workflow.conftest import write_manifest
from tests.workflow.fake_dispose import FakeStage


class StoringStage(FakeStage):
    """Keeps what it computes as artifacts, which hold their digest and say what went in."""

    def __init__(self, name):
        super().__init__(name)
        self.revision = revision(name)

    def find(self, unit):
        if unit.stage not in STORED_STAGES:
            return super().find(unit)
        digest = self.context.store.digest(unit.stage, unit.key)
        return Result(key=unit.key, digest=digest) if digest else None

    def commit(self, unit, artifact):
        if unit.stage not in STORED_STAGES:
            return super().commit(unit, artifact)
        values = np.frombuffer(bytes.fromhex(artifact), np.uint8).astype(np.float32)
        latents = Latents(values.reshape(1, 4, 2, 4))
        digest = self.context.store.write(unit.stage, unit.key, latents, unit.provenance())
        return Result(key=unit.key, digest=digest)


def settings(folder: Path, images=("a.png", "b.png"), videos=("x.mp4", "y.mp4"), **more) -> dict:
    """A configuration below a folder; jobs want it to be the working directory."""
    manifest = write_manifest(folder / "media", list(images), list(videos))
    models = folder / "models"
    models.mkdir(exist_ok=True)
    return {
        "manifest": str(manifest),
        "results": str(folder / "results"),
        "store": str(folder / "store"),
        "models": {"bundle": "tiny", "root": str(models)},
        "compute": {"device": "cpu"},
        **more,
    }


def compute(values: dict, forced: Forced | None = None, *, code=StoringStage) -> PreparedRun:
    """Plan a run and bring all its jobs, whose stages are of class `code`, to an end."""
    prepared = prepare_run(values, forced)
    prepared.commit()
    try:
        write_stage_weights(prepared.layout, "tiny", dict.fromkeys(STAGES, "w"))
        for stage in STAGES:
            for name in prepared.plan.shards(stage):
                assert perform_shard(stage, prepared.layout.root, name, stage=code(stage)) == 0
    finally:
        prepared.release()
    return prepared


def calls() -> list[str]:
    """What was computed since the last look, sorted."""
    path = Path("calls.log")
    lines = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines
