"""Pictures of a pair's intermediate artifacts, for `dispose inspect --preview`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dispose_stages.artifacts import MotionField, PoseTrack
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.ledger import Status
from dispose_stages.motion.preview import preview_motion
from dispose_stages.outcomes import PlannedPair, RunOutcomes
from dispose_stages.pose.preview import (
    contact_sheet,
    overlay_pose,
    preview_frames,
    sheet_positions,
)
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.media import read_image
from dispose_stages.store.video import VideoReader

TILES = 9
"""Frames of a clip that are shown."""


def write_previews(
    outcomes: RunOutcomes, pair: PlannedPair, store: ArtifactStore, folder: Path
) -> Iterator[Path]:
    """Write a picture of every artifact that is there; yields the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, picture in _pictures(outcomes, pair, store):
        path = folder / f"{pair.pair_id}.{role}.png"
        Image.fromarray(picture).save(path)
        yield path


def _pictures(
    outcomes: RunOutcomes, pair: PlannedPair, store: ArtifactStore
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
    for role in ("pose_image", "pose_video", "motion"):
        entry = outcomes.entry(pair, role)
        if entry is None or entry.status is not Status.DONE:
            continue
        if role == "motion":
            motion = store.read("motion", entry.key, MotionField)
            frames = sheet_positions(len(motion.cmp_flow), TILES)
            yield role, preview_motion(motion, frames, compat=pair.parameters["compat"])
            continue
        track = store.read("pose", entry.key, PoseTrack)
        if role == "pose_image":
            image = cover_resize(read_image(Path(pair.reference_image)), track.height, track.width)
            yield role, overlay_pose(image, track[0])
        else:
            yield role, _driver_sheet(Path(pair.driving_video), track)


def _driver_sheet(path: Path, track: PoseTrack) -> UInt8[np.ndarray, "h w 3"]:
    shown = [int(track.frame_indices[p]) for p in sheet_positions(len(track), TILES)]
    with VideoReader(path) as video:
        return contact_sheet(list(preview_frames(video.frames(shown), track)))
