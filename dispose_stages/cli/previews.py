"""Pictures of a pair's intermediate artifacts, for `dispose inspect --preview`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dispose_stages.artifacts import Correspondence, MotionField, PoseTrack
from dispose_stages.atomic import replacing
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.unit import stage_of
from dispose_stages.config import person_rules
from dispose_stages.correspondence.preview import preview_similarity
from dispose_stages.geometry.colour_wheel import add_legend, flow_limit
from dispose_stages.geometry.dense_field import from_fixed_point
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.persons import select_reference_person
from dispose_stages.motion.overlay import preview_alignment
from dispose_stages.pose.preview import (
    contact_sheet,
    overlay_pose,
    preview_frames,
    sheet_positions,
)
from dispose_stages.report import panels
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_still
from dispose_stages.store.video import VideoReader

Picture: TypeAlias = UInt8[np.ndarray, "h w 3"]
T = TypeVar("T")
_logger = logging.getLogger(__name__)

TILES = 9
"""Frames of a clip that are shown."""
ALIGNMENTS = 5
"""Frames of which the alignment is shown."""


class Previews:
    """Pictures of one pair's artifacts.

    Args:
        keypoint: Body keypoint whose correspondence is pictured.

    Attributes:
        remarks: Why there is no picture of something, for the user.
        failed: Whether one of them could not be drawn although there is something to be seen.
    """

    def __init__(
        self, outcomes: RunOutcomes, pair: Row, store: ArtifactStore, keypoint: int
    ) -> None:
        self._outcomes = outcomes
        self._pair = pair
        self._store = store
        self._config = read_run_config(outcomes.layout)
        self._keypoint = keypoint
        self.remarks: list[str] = []
        self.failed = False

    def write(self, folder: Path) -> Iterator[Path]:
        """Write a picture of every artifact that is there; yields the files."""
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {
            "pose_image": self._reference_pose,
            "pose_video": self._driving_poses,
            "motion": self._motion,
            "alignment": self._alignment,
            "correspondence": self._correspondence,
        }
        for role, draw in pictures.items():
            path = folder / f"{self._pair.pair_id}.{role}.png"
            if self._write(path, role, draw):
                yield path

    def _write(self, path: Path, role: str, draw: Callable[[str], Picture | None]) -> bool:
        try:
            picture = draw(role)
            if picture is not None:
                with replacing(path) as temporary:
                    Image.fromarray(picture).save(temporary, "PNG")
        except Exception as error:
            # The others may be what the user is after.
            _logger.debug("no picture of %s", role, exc_info=True)
            self.remarks.append(f"no picture of {role}: {type(error).__name__}: {error}")
            self.failed = True
            return False
        return picture is not None

    def _read(self, role: str, kind: type[T]) -> T | None:
        key = self._outcomes.key(self._pair, role)
        return self._store.read(stage_of(role), key, kind) if key else None

    def _reference_pose(self, role: str) -> Picture | None:
        track = self._read(role, PoseTrack)
        return None if track is None else overlay_pose(self._reference(track), track[0])

    def _reference(self, track: PoseTrack | MotionField) -> Picture:
        path, frame = Path(self._pair.reference_image), self._pair.reference_frame
        image = read_still(path, frame, self._config.compute)
        return cover_resize(image, track.height, track.width)

    def _driving_poses(self, role: str) -> Picture | None:
        track = self._read(role, PoseTrack)
        if track is None:
            return None
        path, compute = Path(self._pair.driving_video), self._config.compute
        shown = [int(track.frame_indices[p]) for p in sheet_positions(len(track), TILES)]
        with VideoReader(path, compute=compute) as video:
            return contact_sheet(list(preview_frames(video.frames(shown), track)))

    def _motion(self, role: str) -> Picture | None:
        """What moves in the report: aligned pose, trajectories and dense field, a row per frame."""
        motion = self._read(role, MotionField)
        if motion is None:
            return None
        positions = sheet_positions(len(motion.cmp_flow), TILES)
        flow = panels.target_flow(from_fixed_point(motion.cmp_flow[positions]), motion)
        limit = flow_limit(flow)
        fields = panels.dense_motion(flow, motion, limit)
        columns = [
            panels.aligned_poses(motion, positions),
            panels.trajectories(self._reference(motion), motion, positions),
            [add_legend(field, limit) for field in fields],
        ]
        return np.concatenate([np.concatenate(column) for column in columns], axis=1)

    def _alignment(self, _: str) -> Picture | None:
        """Of pairs with `align: proportions`: what they were fitted from and to."""
        motion = self._read("motion", MotionField)
        driving = self._read("pose_video", PoseTrack)
        if motion is None or driving is None or motion.retargeting is None:
            return None
        return preview_alignment(motion, driving, sheet_positions(len(driving), ALIGNMENTS))

    def _correspondence(self, role: str) -> Picture | None:
        features = self._read(role, Correspondence)
        track = self._read("pose_image", PoseTrack)
        if features is None or track is None:
            return None
        if features.feature_map is None:
            self.remarks.append(
                "no picture of correspondence: set correspondence.keep_feature_maps: true"
            )
            return None
        if not features.embedding[self._keypoint].any():
            self.remarks.append(
                f"no picture of correspondence: keypoint {self._keypoint} is hidden"
            )
            return None
        person = self._person(track)
        point = track[0].keypoints[person, self._keypoint]
        return preview_similarity(self._reference(track), features, point, self._keypoint)

    def _person(self, track: PoseTrack) -> int:
        rule, _ = person_rules(self._pair.parameters, self._config.motion)
        return select_reference_person(track[0], rule)
