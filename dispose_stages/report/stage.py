"""Write ``report.html`` and the folder of what it loads: rows, columns, pictures.

Everything follows from plan, ledgers, statistics, artifacts and videos, so the report may be
written at any time. What cannot be shown (a video deleted since, an artifact of a shared store
cleaned up) is left out of the page, never an error. Pictures are named after what they are made
of, and made once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from dispose_stages.artifacts import MotionField, PoseTrack
from dispose_stages.atomic import canonical_json, readable_json, write_bytes, write_text
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.unit import stage_of
from dispose_stages.config import Config
from dispose_stages.config_encoding import Encoding
from dispose_stages.errors import DisposeError
from dispose_stages.geometry.colour_wheel import flow_limit
from dispose_stages.geometry.dense_field import from_fixed_point
from dispose_stages.geometry.frames import BASE_FPS, cover_resize, paced_rate, target_size
from dispose_stages.report import panels
from dispose_stages.report.data import PageFiles, alone
from dispose_stages.report.gathering import chosen, gather
from dispose_stages.report.html import render, row_data
from dispose_stages.report.panels import Pixels, Preview
from dispose_stages.report.rows import pair_reports
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from dispose_stages.store.shelf import VideoShelf
from dispose_stages.store.video import VideoReader
from dispose_stages.store.video_writer import VideoWriter

PREVIEWS = 100
"""Pairs with pictures; each costs some seconds once, most of them for decoding, and 150 kB."""
COMPARISONS = 30
"""Groups of variants with pictures."""
_REVISION = 1
"""Raised when previews come to look different."""
_ENCODING = Encoding(crf=27, preset="veryfast")
_logger = logging.getLogger(__name__)
T = TypeVar("T")


def write_report(outcomes: RunOutcomes, *, previews: int = PREVIEWS) -> None:
    """Write the report of a run."""
    with alone(outcomes.layout.report_files):
        _write(outcomes, previews)


def _write(outcomes: RunOutcomes, previews: int) -> None:
    layout = outcomes.layout
    report = gather(outcomes)
    pictures = Pictures(outcomes, read_run_config(layout))
    shown = pictures.of_pairs(chosen(report, previews))
    compared = pictures.of_groups(report.comparable[: min(previews, COMPARISONS)])
    files = PageFiles(layout.report_files)
    files.add_columns(report.overview.table)
    metrics = [column.name for column in report.overview.table.numbers("score")]
    files.add_rows(
        row_data(pair, report.overview.common, metrics, *shown.get(position, (None, None)))
        for position, pair in enumerate(pair_reports(outcomes))
    )
    write_text(layout.report, render(report, compared, files))
    files.sweep(pictures.used)


class Pictures:
    """Makes what a run's pairs look like, into the folder beside the page.

    Args:
        config: Of the run; its limits hold for whatever is decoded here.

    Attributes:
        used: Files that the page refers to.
    """

    def __init__(self, outcomes: RunOutcomes, config: Config) -> None:
        self._outcomes = outcomes
        self._compute = config.compute
        self._store = ArtifactStore(Path(config.store))
        self._shelf = VideoShelf(outcomes.layout.videos)
        self._folder = outcomes.layout.report_files
        self._still = lru_cache(8)(self._read_still)
        self._frames = lru_cache(8)(self._read_frames)
        self.used: set[Path] = set()

    def of_pairs(self, positions: Sequence[int]) -> dict[int, tuple[str | None, Preview | None]]:
        """Link of the reference's picture, and the preview, by position of the pair."""
        found: dict[int, tuple[str | None, Preview | None]] = {}
        for done, position in enumerate(positions, start=1):
            pair = self._outcomes.pairs[position]
            found[position] = (
                _attempt(partial(self._reference, pair)),
                _attempt(partial(self._pair, pair)),
            )
            if done % 10 == 0 or done == len(positions):
                _logger.info("pictures of %d of %d pairs", done, len(positions))
        return found

    def of_groups(self, groups: Sequence[tuple[str, Mapping[str, int]]]) -> dict[int, Preview]:
        """Results of pairs that differ in their variant only, by position of the group."""
        made = (_attempt(partial(self._group, rows)) for _, rows in groups)
        return {number: preview for number, preview in enumerate(made) if preview is not None}

    def _reference(self, pair: Row) -> str:
        """Cut to the target's proportions, as the networks see it."""
        key = self._outcomes.key(pair, "ingest_image") or pair.reference_image
        path = self._named(".webp", "reference", key, pair.reference_frame)
        if not path.exists():
            image = self._still(pair.reference_image, pair.reference_frame)
            height, width = image.shape[:2]
            height, width = target_size(height, width, pair.parameters.resolution)
            shown = cover_resize(image, *panels.panel_size(height, width))
            write_bytes(path, panels.still(shown))
        self.used.add(path)
        return f"{self._folder.name}/{path.name}"

    def _pair(self, pair: Row) -> Preview | None:
        motion = _attempt(lambda: self._read(pair, "motion", MotionField))
        track = None if motion else _attempt(lambda: self._read(pair, "pose_video", PoseTrack))
        poses = motion.poses.frame_indices[1:] if motion else track.frame_indices if track else None
        indices = self._sampled(pair) if poses is None else poses.tolist()
        positions, step = panels.shown_frames(len(indices))
        used = [indices[position] for position in positions]
        video = self._shelf.find(pair.pair_id)
        roles = ("ingest_image", "ingest_video", "ingest_truth", "pose_video", "motion")
        keys = [self._outcomes.key(pair, role) or "" for role in roles]
        parts = (*keys, pair.reference_frame, used)
        make: dict[str, Callable[[], Sequence[Pixels]]] = {
            "driver": lambda: self._frames(pair.driving_video, tuple(used))
        }
        limit = 0.0
        if motion is not None:
            flow = panels.target_flow(from_fixed_point(motion.cmp_flow[positions]), motion)
            limit = flow_limit(flow)
            make |= self._moving(pair, motion, positions)
            make["field"] = lambda: panels.dense_motion(flow, motion, limit)
            if truth := _truth(pair):
                make["truth"] = lambda: self._in_place(pair, truth, used, motion)
        elif track is not None:
            make["poses found"] = lambda: panels.found_poses(
                self._frames(pair.driving_video, tuple(used)), track, positions
            )
        if video is not None:
            place = partial(panels.placed, positions, video)  # the sidecar may say anything
            make["result"] = lambda: self._frames(str(video.path), place())
            parts = (*parts, video.digest)
        rate = pair.parameters.fps
        if rate == "driver" or pair.parameters.interpolate != "none":
            found = motion.poses if motion else track
            rate = paced_rate(found.fps, pair.parameters.sample_stride) if found else BASE_FPS
        return self._preview(parts, make, rate, step, limit)

    def _moving(
        self, pair: Row, motion: MotionField, positions: range
    ) -> dict[str, Callable[[], Sequence[Pixels]]]:
        driving = motion.retargeting and _attempt(lambda: self._read(pair, "pose_video", PoseTrack))
        fits = {"fits": lambda: panels.fits(motion, driving, positions)} if driving else {}
        return fits | {
            "pose": lambda: panels.aligned_poses(motion, positions),
            "trajectories": lambda: panels.trajectories(
                self._still(pair.reference_image, pair.reference_frame), motion, positions
            ),
        }

    def _group(self, rows: Mapping[str, int]) -> Preview | None:
        pairs = {variant: self._outcomes.pairs[row] for variant, row in rows.items()}
        videos = {variant: self._shelf.find(pair.pair_id) for variant, pair in pairs.items()}
        there = {variant: video for variant, video in videos.items() if video is not None}
        if len(there) < 2:
            return None
        positions, step = panels.shown_frames(min(map(panels.made_frames, there.values())))
        first = next(iter(there.values()))
        make: dict[str, Callable[[], Sequence[Pixels]]] = {
            variant: partial(self._frames, str(video.path), panels.placed(positions, video))
            for variant, video in there.items()
        }
        parts = [(variant, video.digest) for variant, video in there.items()]
        return self._preview(parts, make, first.made_fps or first.fps, step)

    def _preview(
        self,
        parts: Sequence[object],
        make: Mapping[str, Callable[[], Sequence[Pixels]]],
        fps: float,
        step: int,
        limit: float = 0.0,
    ) -> Preview | None:
        """The preview made of these parts; one that lacks panels is made again."""
        path = self._named(".mp4", list(make), *parts, fps)
        record = path.with_suffix(".json")
        kept = _kept(record) if path.exists() else None
        if kept is None:
            made = {name: frames for name, draw in make.items() if (frames := _attempt(draw))}
            if not made:
                return None
            strip, places = panels.side_by_side(made)
            height, width = strip[0].shape[:2]
            with VideoWriter(path, (height, width), fps / step, _ENCODING, threads=1) as writer:
                for frame in strip:
                    writer.write(frame)
            link = f"{self._folder.name}/{path.name}"
            kept = Preview(link, fps / step, len(strip), step, places, limit)
            if len(made) == len(make):
                write_text(record, readable_json(asdict(kept)))
        self.used |= {path, record}
        return kept

    def _named(self, ending: str, *parts: object) -> Path:
        text = canonical_json([_REVISION, *parts])
        return self._folder / (hashlib.sha256(text.encode()).hexdigest()[:24] + ending)

    def _read(self, pair: Row, role: str, kind: type[T]) -> T | None:
        key = self._outcomes.key(pair, role)
        return self._store.read(stage_of(role), key, kind) if key else None

    def _read_still(self, path: str, frame: int | None) -> Pixels:
        return read_still(Path(path), frame, self._compute)

    def _read_frames(self, path: str, indices: Sequence[int]) -> Sequence[Pixels]:
        with VideoReader(Path(path), compute=self._compute) as video:
            return [panels.fitted(frame) for _, frame in video.frames(indices)]

    def _in_place(
        self, pair: Row, truth: str, indices: Sequence[int], motion: MotionField
    ) -> list[Pixels]:
        """True frames in the result's place; those of the driver itself are there already."""
        if truth == pair.driving_video:
            small = self._frames(truth, tuple(indices))
            if panels.large_enough(small[0], motion):
                return [panels.in_place(frame, motion) for frame in small]
        with VideoReader(Path(truth), compute=self._compute) as video:
            return [panels.in_place(frame, motion) for _, frame in video.frames(indices)]

    def _sampled(self, pair: Row) -> list[int]:
        own = pair.parameters
        with VideoReader(Path(pair.driving_video), compute=self._compute) as video:
            return video.sampled(own.sample_stride, own.start_frame, own.max_frames)


def _truth(pair: Row) -> str:
    """The true video of a pair, if it has one."""
    return pair.truth_video or (pair.driving_video if pair.reference_frame is not None else "")


def _kept(record: Path) -> Preview | None:
    """What an earlier report made, if it was complete and is still to be read."""
    try:
        return Preview(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _attempt(show: Callable[[], T]) -> T | None:
    """What is to be shown, or nothing where that fails in whatever way: the row stands."""
    try:
        return show()
    except (DisposeError, FileNotFoundError) as error:
        _logger.info("left out of the page: %s", error)
    except Exception:
        _logger.exception("left out of the page")
    return None
