"""Stage ``pose``: whole-body keypoints of all persons of an image or a video (algorithm §2, §3).

An image's unit is the image at target size, a video's the frames its reading parameters choose.
Alignment belongs to a pair, so it is not done here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.batch.machine import granted_threads
from dispose_stages.batch.stage import ArtifactRepository, Context, InterruptedUnitError, Stage
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    Reason,
    UnitError,
    WarningCode,
)
from dispose_stages.geometry.frames import cover_resize, target_size
from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_pose, extract_poses
from dispose_stages.pose.unit import REVISION, ImagePoseParams, VideoPoseParams
from dispose_stages.store.media import read_still
from dispose_stages.store.video import ReaderChoice, VideoReader
from dispose_stages.weights.loading.dwpose import load_pose_networks


class PoseWorker:
    """DWPose, loaded."""

    def __init__(self, networks: PoseNetworks, context: Context) -> None:
        self._networks = networks
        self._context = context

    def read(self, unit: Unit) -> dict[str, Any]:
        """The image at target size, or the video with the frames to read of it.

        Raises:
            UnitError: The file cannot be read (reasons of `store`), ``no_frames`` where the
                reading parameters choose none.
        """
        if unit.params["kind"] == "image":
            wanted, compute = ImagePoseParams.read(unit), self._context.config.compute
            image = read_still(unit.source("image"), wanted.reference_frame, compute)
            height, width = target_size(image.shape[0], image.shape[1], wanted.resolution)
            return {"image": cover_resize(image, height, width)}
        params = VideoPoseParams.read(unit)
        media = unit.inputs.get("media")
        library: ReaderChoice = media.facts.get("reader", "auto") if media else "auto"
        compute = self._context.config.compute
        with ExitStack() as stack:
            reader = VideoReader(unit.source("video"), reader=library, compute=compute)
            stack.enter_context(reader)
            start = params.start_frame
            indices = reader.sampled(params.sample_stride, start, params.max_frames)
            if not indices:
                message = f"reading was to start at frame {start}, the video has "
                raise UnitError(Reason.NO_FRAMES, f"{message}{reader.frame_count}")
            stack.pop_all()  # `compute` closes it
        return {"video": reader, "indices": indices}

    def compute(
        self,
        *,
        image: UInt8[np.ndarray, "height width 3"] | None = None,
        video: VideoReader | None = None,
        indices: list[int] | None = None,
    ) -> PoseTrack:
        """Poses of an image at target size, or of frames of a video.

        Raises:
            UnitError: ``not_finite`` where a network gave no number; the video cannot be read on.
            InterruptedUnitError: The job was asked to stop.
        """
        if image is not None:
            frame = extract_pose(image, self._networks)
            track = PoseTrack.from_frames([frame], [0], image.shape[0], image.shape[1], 0.0)
        elif video is not None:
            track = self._of_video(video, indices or [])
        if not (np.isfinite(track.keypoints).all() and np.isfinite(track.scores).all()):
            raise UnitError(Reason.NUMERIC, "the pose network gave non-finite values")
        return track

    def _of_video(self, video: VideoReader, indices: list[int]) -> PoseTrack:
        with video, closing(extract_poses(video.frames(indices), self._networks)) as poses:
            frames = [frame for _, frame in self._until_stopped(poses, len(indices))]
            return PoseTrack.from_frames(frames, indices, video.height, video.width, video.fps)

    def _until_stopped(
        self, poses: Iterator[tuple[int, Frame]], total: int
    ) -> Iterator[tuple[int, Frame]]:
        for done, item in enumerate(poses):
            self._context.say_step(done, total)
            if self._context.stop_requested():
                raise InterruptedUnitError("the job was asked to stop while reading a video")
            yield item


class PoseRepository(ArtifactRepository):
    """Tells of scene cuts between the frames of a video beside its artifact."""

    def find(self, unit: Unit) -> Result | None:
        """The artifact if it is whole."""
        found = super().find(unit)
        if found is None or not _scene_cuts(unit):
            return found
        try:
            return _told(found, unit, self._store.read(unit.stage, unit.key, PoseTrack))
        except (ArtifactMissingError, ArtifactCorruptError):
            return None

    def commit(self, unit: Unit, artifact: PoseTrack) -> Result:
        """Write the artifact."""
        return _told(super().commit(unit, artifact), unit, artifact)


def _scene_cuts(unit: Unit) -> list[int]:
    """Those of the whole video, as `ingest` found them."""
    media = unit.inputs.get("media")
    return list(media.facts.get("scene_cuts", ())) if media else []


def _told(result: Result, unit: Unit, track: PoseTrack) -> Result:
    first, last = int(track.frame_indices[0]), int(track.frame_indices[-1])
    cuts = [cut for cut in _scene_cuts(unit) if first < cut <= last]
    if not cuts:
        return result
    return replace(result, facts={"scene_cuts": cuts}, warnings=(WarningCode.SCENE_CUTS,))


def load(context: Context) -> PoseWorker:
    """Load both networks."""
    config = context.config
    # ONNX Runtime does not read OMP_NUM_THREADS.
    threads = granted_threads(config.compute.threads, os.environ)
    networks = load_pose_networks(
        config, context.models_root, device=context.device, threads=threads
    )
    return PoseWorker(networks, context)


STAGE = Stage("pose", REVISION, open=load, repository=PoseRepository)
