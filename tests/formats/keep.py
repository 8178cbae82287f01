"""Writes one small file of every kind that a store and a run hold, as this version writes them.

    python -m tests.formats.keep tests/formats/kept/NAME

A folder that is kept is never written again: later versions must read it, or say what makes it
anew. When a format's version is raised, run this once more, into a folder of another name.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

from dispose_stages.artifacts import Correspondence, Latents, MotionField, PoseTrack, Scores
from dispose_stages.batch.control import Control
from dispose_stages.batch.failures import write_failures, write_rejects
from dispose_stages.batch.index import write_index
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.prepare import prepare_run
from dispose_stages.batch.run_files import write_stage_weights
from dispose_stages.batch.scores import write_scores
from dispose_stages.batch.stats import Attempt, Ending, JobStats
from dispose_stages.batch.unit import Result
from dispose_stages.config import STAGES
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.freed import free_artifacts
from dispose_stages.store.shelf import Video, VideoShelf
from tests.batch.whole_run import StoringStage, write_manifest

PROTOCOL = '{"group":"frames"}'
MEDIA = (["a.png"], ["x.mp4"])
SETTINGS = {
    "run": "kept",
    "manifest": "media/pairs.csv",
    "results": "results",
    "store": {"path": "store", "keep": "videos"},
    "models": {"bundle": "tiny", "root": "models"},
    "compute": {"device": "cpu"},
    "score": {"metrics": ["frames"]},
}


def artifact_of(stage):
    """The smallest artifact of a stage, every field with values of its own."""
    rng = np.random.default_rng(STAGES.index(stage))
    track = PoseTrack(
        frame_indices=np.array([0, 2]),
        person_offsets=np.array([0, 1, 2]),
        keypoints=rng.random((2, 134, 2)).round(3),
        scores=rng.random((2, 134)).round(3),
        boxes=np.arange(8.0).reshape(2, 4),
        box_scores=np.array([0.5, 0.25]),
        height=64,
        width=96,
        fps=25.0,
    )
    flow = np.zeros((1, 2, 192, 192), np.int16)
    flow[0, :, 3, 4] = (5, -6)
    return {
        "pose": track,
        "motion": MotionField(track, np.array([0, -1]), flow, 64, 96, (1.0, 2.0), (0.5, 0.25), 0.1),
        "correspondence": Correspondence(rng.random((18, 4)).astype(np.float32)),
        "sample": Latents(rng.random((2, 4, 1, 2)).astype(np.float32)),
        "score": Scores(
            PROTOCOL, ("l1",), (0.25,), ("",), ("l1",), np.array([[0.25, np.nan]]), None, track
        ),
    }[stage]


class KeptStage(StoringStage):
    """Commits the smallest artifact, and videos as they are delivered."""

    def __init__(self, name):
        super().__init__(name)
        self.revision = 1

    def find(self, unit):
        if unit.stage != "mux":
            return super().find(unit)
        digest = VideoShelf(self.context.videos).digest(unit.id, unit.key)
        return Result(key=unit.key, digest=digest) if digest else None

    def commit(self, unit, artifact):
        if unit.stage == "ingest":
            return super().commit(unit, artifact)
        if unit.stage == "mux":
            shelf = VideoShelf(self.context.videos)
            path = shelf.staging(unit.id, unit.key, ".mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"video")
            staged = Video(path, 1, 64, 96, 15.0, metadata={"synthetic": "true"})
            video = shelf.commit(unit.id, unit.key, staged, unit.provenance())
            told = ("size_bytes", "frames", "height", "width", "fps")
            facts = {name: getattr(video, name) for name in told}
            return Result(key=unit.key, digest=video.digest, facts=facts)
        artifact = artifact_of(unit.stage)
        digest = self.context.store.write(unit.stage, unit.key, artifact, unit.provenance())
        return Result(key=unit.key, digest=digest, facts={"told": unit.stage})


def keep(folder: Path) -> None:
    """Write everything; `folder` must not be there."""
    folder = folder.absolute()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        try:
            write_manifest(Path("media"), *MEDIA)
            _run(Path("models"))
        finally:
            os.chdir(here)
        for name in ("calls.log", "begun.log", "probes", "results/kept/plan/run.lock"):
            path = Path(work, name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(work, folder)


def _run(models: Path) -> None:
    models.mkdir()
    with mock.patch("dispose_stages.batch.prepare.revision", return_value=1):  # whatever it is
        _compute()


def _compute() -> None:
    prepared = prepare_run(SETTINGS)
    prepared.commit()
    prepared.release()
    layout = prepared.layout
    write_stage_weights(layout, "tiny", dict.fromkeys(STAGES, "w"))
    for stage in STAGES:
        for name in prepared.plan.shards(stage):
            assert perform_shard(stage, layout.root, name, stage=KeptStage(stage)) == 0
            stats = JobStats.read(layout.stats(stage, name))
            told = Attempt(1, "host", "7", "cpu", started=1.0, seconds=2.0, outcome=Ending.DONE)
            seconds = dict.fromkeys(stats.seconds, 0.5)
            JobStats(seconds, [told]).write(layout.stats(stage, name))
    outcomes = RunOutcomes.read(layout.root)
    write_index(outcomes)
    write_scores(outcomes)
    write_failures(outcomes)
    write_rejects(outcomes)
    store = ArtifactStore(Path("store"))
    latents = artifact_of("sample").latents
    store.write_partial("sample", "0" * 40, {"latents": latents}, {"step": 3})
    list(free_artifacts(store, "correspondence", list(store.keys("correspondence"))))
    again = prepare_run(SETTINGS)
    again.commit()
    again.release()
    Control({"pose": {"*": "token"}}, {"mux/0-of-1": 2}).write(layout.control)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
