from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row, RowProblem
from dispose_stages.batch.outcomes import ROLES, PairStatus, RunOutcomes, ShardState
from dispose_stages.batch.stats import Attempt, JobStats
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import Config
from dispose_stages.errors import Reason
from dispose_stages.report.html import render
from dispose_stages.report.stage import gather, most_visible
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import StagedVideo, VideoShelf
from tests.store.clips import write_clip

KEY = "ab" * 20


def track_of(visible: list[int]) -> PoseTrack:
    """A pose track whose frames show so many keypoints of one person; -1: nobody."""
    frames = []
    for count in visible:
        scores = np.zeros((0 if count < 0 else 1, 134))
        scores[:, : max(count, 0)] = 0.9
        persons = len(scores)
        points = np.full((persons, 134, 2), 0.5)
        frames.append(Frame(points, scores, np.zeros((persons, 4)), np.ones(persons)))
    return PoseTrack.from_frames(frames, [3 * i for i in range(len(visible))], 64, 96, 30.0)


@pytest.fixture
def outcomes(tmp_path: Path) -> RunOutcomes:
    """A run of three pairs: delivered, failed, not begun."""
    config = Config(store=str(tmp_path / "store"), results=str(tmp_path / "results"))
    layout = RunLayout(config.run_dir)
    layout.config.parent.mkdir(parents=True)
    layout.config.write_text(config.model_dump_json())
    image = tmp_path / "a.png"
    Image.fromarray(np.full((90, 70, 3), 128, np.uint8)).save(image)
    clip = write_clip(tmp_path / "b.mp4", 12)
    store = ArtifactStore(Path(config.store))
    track = track_of([2, 18, -1])
    store.write("pose", KEY, track)
    flow = np.zeros((2, 2, 192, 192), np.int16)
    flow[1, 0, :96] = 9000
    field = MotionField(track, np.zeros(3, int), flow, 1024, 576, (1.0, 1.0), (0.0, 0.0), 0.0)
    store.write("motion", KEY, field)
    shelf = VideoShelf(layout.videos)
    for pair_id in ("p0", "stale"):
        staged = shelf.staging(pair_id, KEY, ".mp4")
        write_clip(staged, 5)
        shelf.commit(pair_id, KEY, StagedVideo(staged, 5, 64, 96, 15.0), {})
    pairs = [
        Row(
            n + 2,
            f"p{n}",
            str(image),
            str(clip),
            config.parameters,
            units=dict.fromkeys(ROLES, f"u{n}"),
        )
        for n in range(3)
    ]
    entries: dict[str, dict[str, Result]] = {stage: {} for stage in ROLES.values()}
    for units in entries.values():
        units["u0"] = Result(Status.DONE, key=KEY, digest="d")
    failed = Result(Status.FAILED, reason=Reason.PERSON_LOST, message="nobody <there>")
    entries["ingest"]["u1"] = entries["pose"]["u1"] = Result(Status.DONE, key=KEY, digest="d")
    entries["motion"]["u1"] = failed
    attempts = [Attempt(1, found=1, load_seconds=1.5), Attempt(2, found=4, load_seconds=0.5)]
    stats = JobStats({"u0": 2.0, "u1": 4.0}, attempts)
    shards = [ShardState("motion", "0-of-1", 3, entries["motion"], True, None, stats)]
    summary = PlanSummary(3, 1, {}, {}, "", "", 30.0)
    rejects = [RowProblem(9, "seed", "'x' is no number")]
    return RunOutcomes(layout, summary, pairs, rejects, shards, entries)


def test_a_run_becomes_a_report(outcomes: RunOutcomes) -> None:
    """Status, reason, keys, times, pictures and videos of every pair; the page can be drawn."""
    report = gather(outcomes, max_pictured=10, max_embedded_bytes=10**6)
    done, failed, pending = report.pairs
    assert [pair.status for pair in report.pairs] == list(PairStatus)
    assert done.video is not None
    assert (done.video.frames, done.video.link) == (5, "videos/p0.mp4")
    assert done.video.data == (outcomes.layout.videos / "p0.mp4").read_bytes()
    assert done.reference is not None
    assert (done.reference.height, done.reference.width) == (330, 186)
    assert done.motion is not None
    assert "frame 2" in done.motion.text
    assert done.driver is not None
    assert "frame 3 " in done.driver.text
    assert done.seconds == {"motion": 2.0}
    assert done.keys["sample"] == KEY
    assert (failed.reason, failed.message) == ("person_lost", "nobody <there>")
    assert failed.failed_in == "motion"
    assert failed.motion is None
    assert failed.driver is not None
    assert pending.video is None
    assert pending.reason == ""
    assert pending.driver is not None
    assert pending.driver.text == "frame 0 of the driving video"
    assert str(report.rows) == "1 of 4 rows delivered, 1 failed, 1 rejected, 1 pending"
    (motion,) = [timing for timing in report.timings if timing.stage == "motion"]
    assert (motion.jobs, motion.found, motion.failed, motion.total) == (1, 4, 1, 6.0)
    assert motion.load_seconds == 2.0
    assert "nobody &lt;there&gt;" in render(report)


def test_budgets(outcomes: RunOutcomes) -> None:
    """Rows beyond the first ones have no pictures, and large videos are linked."""
    report = gather(outcomes, max_pictured=1, max_embedded_bytes=100)
    assert report.pairs[0].video is not None
    assert report.pairs[0].video.data is None
    assert report.pairs[0].reference is not None
    assert report.pairs[1].reference is None
    assert "pictures of the first 1 pairs" in render(report)


def test_what_is_gone_is_left_out(outcomes: RunOutcomes) -> None:
    """Deleted media, artifacts and videos leave gaps, not errors."""
    store = ArtifactStore(outcomes.layout.root.parents[1] / "store")
    store.remove("pose", KEY)
    store.path("motion", KEY).write_bytes(b"damaged")
    (outcomes.layout.videos / "p0.mp4").unlink()
    missing = [
        dataclasses.replace(pair, reference_image="/nowhere/a.png", driving_video="/nowhere/b.mp4")
        for pair in outcomes.pairs
    ]
    outcomes.pairs[:] = missing
    report = gather(outcomes, max_pictured=10, max_embedded_bytes=10**6)
    done = report.pairs[0]
    assert (done.reference, done.driver, done.motion, done.video) == (None, None, None, None)
    assert done.status is PairStatus.DELIVERED
    assert json.dumps("p0") in render(report)


def test_most_visible_frame() -> None:
    """The frame that shows most of the body, the first of equals; 0 if there is nobody."""
    assert most_visible(track_of([1, 5, 18, 18, -1])) == 2
    assert most_visible(track_of([-1, -1])) == 0
    assert most_visible(track_of([0] * 24 + [18])) == 0
