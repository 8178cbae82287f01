from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dispose_stages.artifacts import Frame, MotionField, PoseTrack, Retargeting
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.manifest import Row, RowProblem
from dispose_stages.batch.outcomes import ROLES, PairStatus, RunOutcomes, ShardState
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.stats import Attempt, JobStats
from dispose_stages.batch.summary import PlanSummary
from dispose_stages.batch.unit import Result, Status, stage_of
from dispose_stages.config import Compute, Config
from dispose_stages.errors import Reason
from dispose_stages.report import stage
from dispose_stages.report.data import alone
from dispose_stages.report.gathering import chosen
from dispose_stages.report.stage import write_report
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import Video, VideoShelf
from dispose_stages.store.video import VideoReader
from tests.report.runs import Page, counted, pair
from tests.store.clips import write_clip

KEY, OTHER = "ab" * 20, "cd" * 20


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
    compute = Compute(decode_timeout=77.0)
    config = Config(
        store=str(tmp_path / "store"), results=str(tmp_path / "results"), compute=compute
    )
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
    field = MotionField(track, np.array([0, 0, -1]), flow, 1024, 576, (1.0, 1.0), (0.0, 0.0), 0.0)
    store.write("motion", KEY, field)
    shelf = VideoShelf(layout.videos)
    for pair_id in ("p0", "stale"):
        staged = shelf.staging(pair_id, KEY, ".mp4")
        write_clip(staged, 5)
        shelf.commit(pair_id, KEY, Video(staged, 5, 64, 96, 15.0), {})
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
    entries: dict[str, dict[str, Result]] = {stage: {} for stage in map(stage_of, ROLES)}
    for units in entries.values():
        facts = {"frames": 2, "fps": 15.0, "width": 96, "height": 64, "size_bytes": 1000}
        units["u0"] = Result(Status.DONE, key=KEY, digest="d", facts=facts)
    failed = Result(Status.FAILED, reason=Reason.PERSON_LOST, message="nobody <there>")
    entries["ingest"]["u1"] = entries["pose"]["u1"] = Result(Status.DONE, key=KEY, digest="d")
    entries["motion"]["u1"] = failed
    attempts = [Attempt(1, found=1, load_seconds=1.5), Attempt(2, found=4, load_seconds=0.5)]
    stats = JobStats({"u0": 2.0, "u1": 4.0}, attempts)
    shards = [ShardState("motion", "0-of-1", 3, entries["motion"], True, None, stats)]
    summary = PlanSummary(3, 1, {}, {}, "", "", 30.0)
    rejects = [RowProblem(9, "seed", "'x' is no number")]
    return RunOutcomes(layout, summary, pairs, rejects, shards, entries)


def shown(outcomes: RunOutcomes, previews: int = 100) -> Page:
    """The page that is written, read back."""
    write_report(outcomes, previews=previews)
    folder = outcomes.layout.root
    return Page((folder / "report.html").read_text(encoding="utf-8"), folder)


def names(row: dict[str, Any]) -> list[str]:
    """Panels of a row's preview."""
    return [name for name, *_ in row["preview"]["panels"]] if "preview" in row else []


def test_bodies_are_shown_where_proportions_were_asked_for(outcomes: RunOutcomes) -> None:
    """Before the pose that came of them."""
    store = ArtifactStore(Path(read_run_config(outcomes.layout).store))
    measured = Retargeting(
        used=True,
        limbs=("trunk",),
        ratio=np.ones(1),
        spread=np.ones(1),
        seen=np.ones(1),
        in_reference=np.ones(1, dtype=bool),
        **dict.fromkeys(("body", "distinct", "residual", "ground_slip", "displacement"), 1.0),
    )
    field = store.read("motion", KEY, MotionField)
    store.write("motion", OTHER, dataclasses.replace(field, retargeting=measured))
    outcomes.results["motion"]["u0"] = dataclasses.replace(
        outcomes.results["motion"]["u0"], key=OTHER
    )
    panels = ["driver", "fits", "pose", "trajectories", "field", "result"]
    assert names(shown(outcomes).rows[0]) == panels


def test_a_run_becomes_a_report(outcomes: RunOutcomes) -> None:
    """Status, reason, times, pictures and videos of every pair."""
    page = shown(outcomes)
    done, failed, pending = page.rows
    assert [row["status"] for row in page.rows] == ["delivered", "failed", "pending"]
    assert done["result"]["link"] == "videos/p0.mp4"
    assert done["result"]["frames"] == 2
    assert done["times"] == [["motion", "2.00 s"]]
    assert names(done) == ["driver", "pose", "trajectories", "field", "result"]
    assert (failed["reason"], failed["message"]) == ("person_lost", "nobody <there>")
    assert failed["stage"] == "motion"
    assert names(failed) == ["driver", "poses found"]
    assert names(pending) == ["driver"]
    assert "1 of 4 rows delivered, 1 failed, 1 rejected, 1 pending" in page.source
    assert "nobody &lt;there&gt;" in page.source
    assert "motion" in page.text
    for row in page.rows:
        assert (page.folder / row["reference"]).stat().st_size > 50


def test_all_panels_are_in_one_video_frame_by_frame(outcomes: RunOutcomes) -> None:
    """As many frames as the result; each panel holds what it says."""
    preview = shown(outcomes).rows[0]["preview"]
    assert (preview["frames"], preview["step"], preview["fps"]) == (2, 1, 15.0)
    assert preview["limit"] > 0
    with VideoReader(outcomes.layout.root / preview["link"]) as video:
        frames = [frame for _, frame in video.frames(range(2))]
    places = {name: slice(left, left + width) for name, left, width, _ in preview["panels"]}
    assert video.frame_count == 2
    still, moving = (frame[: preview["panels"][3][3], places["field"]] for frame in frames)
    assert still.min() > 240, "white where nothing moves"
    assert moving.min() < 120


def test_pictures_are_made_once(outcomes: RunOutcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second report uses those of the first, and removes those that nothing shows any more."""
    first = shown(outcomes)
    kept = {path.name for path in (first.folder / "report_files").iterdir()}
    monkeypatch.setattr(stage, "VideoWriter", None)
    assert shown(outcomes).source == first.source
    assert {path.name for path in (first.folder / "report_files").iterdir()} == kept
    shown(outcomes, previews=0)
    assert [path.name for path in (first.folder / "report_files").iterdir()] == [".lock"]


def test_two_reports_at_once_wait_for_one_another(outcomes: RunOutcomes) -> None:
    """Neither removes what the other is about to refer to."""
    finished = threading.Event()

    def write() -> None:
        write_report(outcomes)
        finished.set()

    with alone(outcomes.layout.report_files):
        other = threading.Thread(target=write)
        other.start()
        assert not finished.wait(1.0)
    other.join()
    assert outcomes.layout.report.exists()


def test_limits_of_the_configuration_hold_for_pictures(
    outcomes: RunOutcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is decoded for the page is decoded as the run's jobs decode it."""
    seen = []

    def reading(read: Callable[..., Any], position: int | None) -> Callable[..., Any]:
        def noting(*given: Any, **named: Any) -> Any:
            seen.append(named.get("compute", given[position] if position else None))
            return read(*given, **named)

        return noting

    monkeypatch.setattr(stage, "VideoReader", reading(VideoReader, None))
    monkeypatch.setattr(stage, "read_still", reading(stage.read_still, 2))
    shown(outcomes)
    assert len(seen) > 3
    assert {compute and compute.decode_timeout for compute in seen} == {77.0}


def test_only_so_many_pairs_are_pictured(outcomes: RunOutcomes) -> None:
    """Rows beyond the first ones stand without pictures."""
    done, failed, _ = shown(outcomes, previews=1).rows
    assert names(done)
    assert "reference" in done
    assert not names(failed)
    assert "reference" not in failed
    assert done["result"]


def test_what_is_gone_is_left_out(outcomes: RunOutcomes) -> None:
    """Deleted media, artifacts and videos leave gaps, not errors."""
    store = ArtifactStore(outcomes.layout.root.parents[1] / "store")
    store.remove("pose", KEY)
    store.path("motion", KEY).write_bytes(b"damaged")
    (outcomes.layout.videos / "p0.mp4").unlink()
    outcomes.pairs[:] = [
        dataclasses.replace(pair, reference_image="/nowhere/a.png", driving_video="/nowhere/b.mp4")
        for pair in outcomes.pairs
    ]
    done = shown(outcomes).rows[0]
    assert not names(done)
    assert "reference" not in done
    assert done["status"] == PairStatus.DELIVERED


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError("no"), KeyError(1)])
@pytest.mark.parametrize("name", ["aligned_poses", "trajectories", "dense_motion"])
def test_a_panel_that_fails_is_one_panel(
    outcomes: RunOutcomes, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    """Whatever is raised, the others are there; the next report tries the missing one again."""

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(stage.panels, name, fail)
        assert len(names(shown(outcomes).rows[0])) == 4
    assert len(names(shown(outcomes).rows[0])) == 5


@pytest.mark.parametrize("odd", [{"fps": "fast"}, {"width": None}, {"frames": [1]}, {"digest": {}}])
def test_an_odd_sidecar_costs_nothing_else(outcomes: RunOutcomes, odd: dict[str, Any]) -> None:
    """Whatever stands in it, the page is drawn, with the pair's other pictures."""
    path = outcomes.layout.videos / "p0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    assert {"driver", "pose", "field"} <= set(names(shown(outcomes).rows[0]))


def test_variants_of_a_pair_are_compared(outcomes: RunOutcomes) -> None:
    """Rows that differ in nothing but the variant stand side by side, `full` first."""
    first = outcomes.pairs[0]
    base = {"motion_guidance": False, "correspondence_guidance": False}
    other = dataclasses.replace(
        first, pair_id="stale", parameters=first.parameters.model_copy(update=base)
    )
    seeded = dataclasses.replace(
        first, pair_id="p1", parameters=other.parameters.model_copy(update={"seed": 7})
    )
    outcomes.pairs[:] = [other, first, seeded]
    (group,) = shown(outcomes).data["comparisons"]
    assert group["rows"] == [["full", 1], ["base", 0]]
    assert [name for name, *_ in group["preview"]["panels"]] == ["full", "base"]


def test_first_page_then_both_ends_then_the_others() -> None:
    """Which pairs get pictures, when there are not enough for all."""
    pairs = tuple(pair(n, scores={"psnr": float(n)}) for n in range(100))
    assert chosen(counted(pairs), 3) == [0, 1, 2]
    assert chosen(counted(pairs), 30) == [*range(25), 25, 26, 97, 98, 99]
    assert chosen(counted(pairs), 1000) == list(range(100))
