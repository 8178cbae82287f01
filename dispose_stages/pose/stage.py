"""Stage ``pose``: whole-body keypoints of all persons of an image or a video (algorithm §2, §3).

An image's unit is the image at target size, a video's the frames its reading parameters choose.
Alignment belongs to a pair, so it is not done here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar

import numpy as np

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.batch.machine import granted_threads
from dispose_stages.batch.unit import (
    ArtifactRepository,
    Context,
    InterruptedUnitError,
    ReadyUnit,
    Repository,
)
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.frames import cover_resize, sampled_frames, target_size
from dispose_stages.pose import REVISION
from dispose_stages.pose.extraction import PoseNetworks, extract_pose, extract_poses
from dispose_stages.store.media import read_image
from dispose_stages.store.video import VideoReader
from dispose_stages.weights import layout
from dispose_stages.weights.loading.dwpose import load_dwpose
from dispose_stages.weights.verification import find_file


class PoseWorker:
    """DWPose, loaded.

    Args:
        networks: Detector and estimator.
        context: Of the job.
    """

    def __init__(self, networks: PoseNetworks, context: Context) -> None:
        self._networks = networks
        self._context = context

    def compute(self, unit: ReadyUnit) -> PoseTrack:
        """Poses of an image or a video.

        Raises:
            UnitError: The file cannot be read (reasons of `store`), ``no_frames`` where the
                reading parameters choose none, ``not_finite`` where a network gave no number.
            InterruptedUnitError: The job was asked to stop.
        """
        track = self._image(unit) if unit.params["kind"] == "image" else self._video(unit)
        if not (np.isfinite(track.keypoints).all() and np.isfinite(track.scores).all()):
            raise UnitError(
                Reason.NUMERIC, f"{unit.label}: the pose network gave non-finite values"
            )
        return track

    def _image(self, unit: ReadyUnit) -> PoseTrack:
        image = read_image(unit.sources["image"])
        height, width = target_size(image.shape[0], image.shape[1], unit.params["resolution"])
        frame = extract_pose(cover_resize(image, height, width), self._networks)
        return PoseTrack.from_frames([frame], [0], height, width, 0.0)

    def _video(self, unit: ReadyUnit) -> PoseTrack:
        with VideoReader(unit.sources["video"]) as reader:
            indices = sampled_frames(
                reader.frame_count,
                reader.fps,
                unit.params["sample_stride"],
                unit.params["start_frame"],
                unit.params["max_frames"],
            )
            if not indices:
                raise UnitError(
                    Reason.NO_FRAMES,
                    f"{unit.label}: reading was to start at frame {unit.params['start_frame']}, "
                    f"the video has {reader.frame_count}",
                )
            with closing(extract_poses(reader.frames(indices), self._networks)) as poses:
                frames = [frame for _, frame in self._until_stopped(poses)]
            return PoseTrack.from_frames(frames, indices, reader.height, reader.width, reader.fps)

    def _until_stopped(self, poses: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, Frame]]:
        for item in poses:
            if self._context.stop_requested():
                raise InterruptedUnitError("the job was asked to stop while reading a video")
            yield item


class PoseStage:
    """Whole-body pose extraction."""

    name: ClassVar[str] = "pose"
    revision: ClassVar[int] = REVISION

    def repository(self, context: Context) -> Repository:
        """The artifact store."""
        return ArtifactRepository(context.store)

    def open(self, context: Context) -> PoseWorker:
        """Load both networks.

        Raises:
            WeightsError: A network file is missing or unusable.
            DeviceError: CUDA was asked for, is not there, and the CPU is not allowed.
        """
        compute = context.config.compute
        model = load_dwpose(
            find_file(context.models_root, layout.DETECTOR),
            find_file(context.models_root, layout.WHOLE_BODY),
            device=context.device,
            allow_cpu=compute.allow_cpu,
            # ONNX Runtime does not read OMP_NUM_THREADS.
            threads=granted_threads(compute.threads, os.environ),
            batch_size=context.config.pose.batch_size,
        )
        networks = PoseNetworks(
            detector=model.detect,
            estimator=model.estimate,
            detector_size=model.detector.input_size,
            estimator_size=model.estimator.input_size,
            batch_size=context.config.pose.batch_size,
        )
        return PoseWorker(networks, context)


STAGE = PoseStage()
