"""Gather what a run came to and write ``report.html``.

Everything follows from plan, ledgers, statistics, artifacts and videos, so the report may be
written at any time. What cannot be shown (a video deleted since, an artifact of a shared store
cleaned up) is left out of the page, never an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from dispose_stages import __version__
from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, MotionField, PoseTrack
from dispose_stages.atomic import write_text
from dispose_stages.batch.index import pair_facts
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import ROLES, Outcome, PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.unit import Result, Status
from dispose_stages.errors import DisposeError
from dispose_stages.geometry.dense_field import from_fixed_point
from dispose_stages.geometry.frames import cover_resize, target_size
from dispose_stages.report.content import (
    PairReport,
    Picture,
    RunReport,
    StageTiming,
    Video,
)
from dispose_stages.report.html import render
from dispose_stages.report.thumbnails import motion_picture, picture, pose_overlay
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from dispose_stages.store.shelf import VideoShelf
from dispose_stages.store.video import VideoReader

MAX_PICTURED = 100
"""Rows with pictures; each costs about 30 kB and a quarter of a second."""
MAX_EMBEDDED_BYTES = 24_000_000
"""Videos inside the page, in the order of the manifest; all others are linked."""
_SEARCHED_FRAMES = 24
_logger = logging.getLogger(__name__)
Shown = TypeVar("Shown", Picture, Video)


def write_report(
    outcomes: RunOutcomes,
    *,
    max_pictured: int = MAX_PICTURED,
    max_embedded_bytes: int = MAX_EMBEDDED_BYTES,
) -> None:
    """Write the report of a run.

    Args:
        outcomes: Of the run.
        max_pictured: Rows with pictures.
        max_embedded_bytes: Size of all videos inside the page.
    """
    report = gather(outcomes, max_pictured=max_pictured, max_embedded_bytes=max_embedded_bytes)
    write_text(outcomes.layout.report, render(report))


def gather(outcomes: RunOutcomes, *, max_pictured: int, max_embedded_bytes: int) -> RunReport:
    """Content of the page; arguments as `write_report`."""
    config = read_run_config(outcomes.layout)
    rows = _Rows(outcomes, ArtifactStore(Path(config.store)), max_embedded_bytes)
    pairs = [
        rows.row(outcome, pictured=index < max_pictured)
        for index, outcome in enumerate(outcomes.pair_outcomes())
    ]
    return RunReport(
        run=config.run,
        version=__version__,
        bundle=config.models.bundle,
        pairs=pairs,
        timings=list(stage_timings(outcomes)),
        rejects=outcomes.rejects,
        configuration=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        pictured=max_pictured,
    )


def stage_timings(outcomes: RunOutcomes) -> Iterator[StageTiming]:
    """One record per stage, from its jobs' statistics."""
    for stage in dict.fromkeys(ROLES.values()):
        shards = [shard for shard in outcomes.shards if shard.stage == stage]
        attempts = [shard.stats.attempts for shard in shards]
        results = outcomes.results.get(stage, {}).values()
        yield StageTiming(
            stage=stage,
            jobs=sum(bool(tries) for tries in attempts),
            found=sum(tries[-1].found for tries in attempts if tries),
            failed=sum(result.status is Status.FAILED for result in results),
            seconds=[value for shard in shards for value in shard.stats.seconds.values()],
            load_seconds=sum(attempt.load_seconds for tries in attempts for attempt in tries),
        )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "all" if value is None else str(value)


def _facts(motion: Result | None) -> dict[str, str]:
    facts = pair_facts(motion)
    return {name: f"{value:.4g}" for name, value in facts.items() if value is not None}


def _attempt(show: Callable[[], Shown | None]) -> Shown | None:
    """What is to be shown, or nothing where that fails in whatever way: the row stands."""
    try:
        return show()
    except (DisposeError, FileNotFoundError) as error:
        _logger.info("left out of the page: %s", error)
    except Exception:
        _logger.exception("left out of the page")
    return None


class _Rows:
    """Makes rows; remembers what several of them show.

    Args:
        outcomes: Of the run.
        store: Its artifacts.
        budget: Bytes of videos inside the page.
    """

    def __init__(self, outcomes: RunOutcomes, store: ArtifactStore, budget: int) -> None:
        self._outcomes = outcomes
        self._store = store
        self._shelf = VideoShelf(outcomes.layout.videos)
        self._budget = budget
        self._seconds = {
            (shard.stage, unit): value
            for shard in outcomes.shards
            for unit, value in shard.stats.seconds.items()
        }
        self._reference = cache(self._draw_reference)
        self._driver = cache(self._draw_driver)
        self._motion = cache(self._draw_motion)

    def row(self, outcome: Outcome, *, pictured: bool) -> PairReport:
        """One pair."""
        pair = outcome.pair
        keys = {role: found.key for role in ROLES if (found := self._outcomes.result(pair, role))}
        pictures = self._pictures(pair, keys) if pictured else {}
        status = outcome.status
        failed = status is PairStatus.FAILED
        return PairReport(
            pair_id=pair.pair_id,
            line=pair.line,
            reference_image=pair.reference_image,
            driving_video=pair.driving_video,
            status=status,
            parameters={name: _text(value) for name, value in pair.parameters},
            extra=pair.extra,
            keys={role: key for role, key in keys.items() if key},
            seconds=self._times(pair),
            facts=_facts(self._outcomes.result(pair, "motion")),
            warnings=self._outcomes.warnings(pair),
            reason=outcome.reason if failed else "",
            message=outcome.message if failed else "",
            failed_in=outcome.stage if failed else "",
            video=_attempt(lambda: self._video(pair)) if status is PairStatus.DELIVERED else None,
            **pictures,
        )

    def _times(self, pair: Row) -> dict[str, float]:
        found = {
            role: self._seconds.get((stage, pair.units.get(role, "")))
            for role, stage in ROLES.items()
        }
        return {role: value for role, value in found.items() if value is not None}

    def _pictures(self, pair: Row, keys: Mapping[str, str]) -> dict[str, Any]:
        image, resolution = pair.reference_image, pair.parameters.resolution
        start = pair.parameters.start_frame
        video, pose = pair.driving_video, keys.get("pose_video", "")
        motion = keys.get("motion", "")
        return {
            "reference": _attempt(lambda: self._reference(image, resolution, pair.reference_frame)),
            "driver": _attempt(lambda: self._driver(video, pose, start)),
            "motion": _attempt(lambda: self._motion(motion)) if motion else None,
        }

    def _draw_reference(self, path: str, resolution: int, frame: int | None) -> Picture:
        image = read_still(Path(path), frame)
        height, width = target_size(image.shape[0], image.shape[1], resolution)
        return picture(cover_resize(image, height, width), "the reference image, cut to size")

    def _draw_driver(self, path: str, key: str, start: int) -> Picture:
        track = self._store.read("pose", key, PoseTrack) if key else None
        position = most_visible(track) if track is not None else 0
        index = int(track.frame_indices[position]) if track is not None else start
        with VideoReader(Path(path)) as reader:
            ((_, image),) = reader.frames([index])
        if track is None:
            return picture(image, f"frame {index} of the driving video")
        shown = pose_overlay(image, track[position])
        return picture(shown, f"frame {index} of the driving video with the poses found in it")

    def _draw_motion(self, key: str) -> Picture:
        field = self._store.read("motion", key, MotionField)
        flow = field.cmp_flow.astype(np.int32)
        fastest = int(np.abs(flow).sum(axis=(1, 2, 3)).argmax())
        scale = np.array([field.width, field.height], np.float32) / (2 * flow.shape[-1])
        pixels = from_fixed_point(field.cmp_flow[fastest]) * scale[:, None, None]
        text = f"dense motion from the reference to frame {fastest + 1}, hue is the direction"
        return motion_picture(pixels, field.height, field.width, text)

    def _video(self, pair: Row) -> Video | None:
        found = self._shelf.find(pair.pair_id)
        if found is None:
            return None
        data = None
        if found.size_bytes <= self._budget:
            self._budget -= found.size_bytes
            data = found.path.read_bytes()
        return Video(
            link=f"{self._shelf.folder.name}/{found.path.name}",
            # A sidecar may hold anything; what is no number costs this video.
            frames=int(found.frames),
            fps=float(found.fps),
            width=int(found.width),
            height=int(found.height),
            size_bytes=int(found.size_bytes),
            data=data,
        )


def most_visible(track: PoseTrack) -> int:
    """Position of the frame, among the first ones, whose first person shows most of the body."""

    def visible(position: int) -> int:
        frame = track[position]
        if not frame.persons:
            return 0
        return int((frame.scores[0, BODY_KEYPOINTS] > VISIBLE_SCORE).sum())

    return max(range(min(len(track), _SEARCHED_FRAMES)), key=visible, default=0)
