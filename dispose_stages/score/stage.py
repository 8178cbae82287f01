"""Stage ``score``: what a delivered video is worth, by one group of metrics (docs/benchmark.md).

Opens what the groups read: the video or its latents, the truth, the aligned pose, the networks.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dispose_stages.artifacts import Latents, MotionField, PoseTrack, Scores
from dispose_stages.batch.machine import granted_threads
from dispose_stages.batch.stage import ArtifactRepository, Context, InterruptedUnitError, Stage
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.geometry.tiles import plan_tiles
from dispose_stages.missing import Missing
from dispose_stages.models.inception import SIDE as INCEPTION_SIDE
from dispose_stages.models.video_decoder import decode_video
from dispose_stages.models.whole_body.extraction import extract_poses
from dispose_stages.records import parse
from dispose_stages.score import features, groups
from dispose_stages.score.faces import FaceInput
from dispose_stages.score.measurement import Measurement, of_features
from dispose_stages.score.protocol import describe, fingerprint
from dispose_stages.score.shown import (
    Clip,
    absent,
    alignment,
    as_moved,
    best_detection,
    delivered_frames,
    driving,
    paired,
    truth_problem,
)
from dispose_stages.score.similarity import Mask, Pixels
from dispose_stages.score.temporal import tile_borders
from dispose_stages.score.truth import TruthLostError, cover_frame, in_place, readable
from dispose_stages.score.unit import REVISION, ScoreParams
from dispose_stages.store.encoding import decode
from dispose_stages.store.media import read_still
from dispose_stages.store.video import ReaderChoice, VideoReader
from dispose_stages.weights import layout
from dispose_stages.weights.digests import DigestCache
from dispose_stages.weights.loading.metric_set import MetricNetworks
from dispose_stages.weights.loading.metrics import heads_file
from dispose_stages.weights.verification import find_file

logger = logging.getLogger(__name__)
_VIDEO_SIDE = 224


class ScoreWorker:
    """All groups; networks are loaded when a unit first needs them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        threads = granted_threads(context.config.compute.threads, os.environ)
        self._networks = MetricNetworks(
            context.config, context.models_root, device=context.device, threads=threads
        )
        self._batch = context.config.score.batch_size
        self._threads = max(1, threads)

    def read(self, unit: Unit) -> dict[str, Any]:
        """The clip, opened when its frames are asked for, and the protocol.

        Raises:
            ArtifactMissingError: The aligned pose, or that it was made from, is gone.
        """
        params = ScoreParams.read(unit)
        motion = self._motion(unit)
        if "driving_pose" in unit.inputs:
            motion = as_moved(motion, self._context.read(unit, "driving_pose", PoseTrack))
        return {
            "params": params,
            "clip": self._clip(unit, params, motion),
            "protocol": _protocol(unit, params, motion, self._context),
        }

    def _motion(self, unit: Unit) -> MotionField:
        """Without the field, which no metric reads: 150 kB a frame."""
        stage, key = unit.upstream["motion"][0], unit.inputs["motion"].key
        tree = self._context.store.read_part(stage, key, "poses", "person", "retargeting")
        tree.arrays["cmp_flow"] = np.zeros((0, 2, 192, 192), np.int16)
        return decode(tree, MotionField)

    def _clip(self, unit: Unit, params: ScoreParams, motion: MotionField) -> Clip:
        reason = None
        if params.shown != "truth" and params.against == "nothing":
            reason = Missing.NO_TRUTH
        elif (found := unit.inputs.get("truth")) and found.status is not Status.DONE:
            reason = Missing.TRUTH_UNREADABLE
        elif found:
            reason = truth_problem(found.facts, unit.inputs["driver"].facts, motion)

        own = delivered_frames(params, unit.inputs, len(motion.poses) - 1)

        def truth() -> Iterator[tuple[Pixels, Mask | None]]:
            library = unit.inputs["truth"].facts.get("reader", "auto")
            indices = motion.poses.frame_indices[1:].tolist()
            frames = readable(self._frames_of(unit.source("truth"), indices, library))
            return self._until_stopped(in_place(frames, motion, params.against))

        def shown() -> Iterator[Pixels]:
            if params.shown == "truth":
                return (frame for frame, _ in truth())
            if params.shown == "before_codec":
                return self._until_stopped(self._decoded(unit, params))
            path = self._context.videos / str(unit.inputs["video"].facts["file"])
            return self._until_stopped(self._frames_of(path, own or []))

        def reference() -> Pixels:
            compute = self._context.config.compute
            image = read_still(unit.source("image"), params.reference_frame, compute)
            return cover_frame(image, motion.height, motion.width)

        return Clip(motion, shown, None if reason else truth, reason, reference, own is None)

    def _frames_of(
        self, path: Path, indices: Sequence[int], library: ReaderChoice = "auto"
    ) -> Iterator[Pixels]:
        compute = self._context.config.compute
        with VideoReader(path, reader=library, compute=compute) as video:
            yield from (frame for _, frame in video.frames(indices))

    def _decoded(self, unit: Unit, params: ScoreParams) -> Iterator[Pixels]:
        decoder = self._networks.decoder
        for chunk in decode_video(
            torch.from_numpy(self._context.read(unit, "latents", Latents).latents),
            decoder,
            chunk_size=params.decode_chunk_size,
            context=params.decode_context,
            scaling_factor=decoder.scaling_factor,
            dtype=decoder.dtype,
            device=self._context.device,
        ):
            yield from chunk.cpu().numpy()

    def _until_stopped(self, frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            if self._context.stop_requested():
                raise InterruptedUnitError("the job was asked to stop while scoring a video")
            yield frame

    def compute(self, *, params: ScoreParams, clip: Clip, protocol: str) -> Scores:
        """One group of one pair.

        Args:
            clip: What is measured.
            protocol: What the numbers depend on.

        Raises:
            UnitError: A video cannot be read, ``not_finite`` where frames cannot be decoded.
            InterruptedUnitError: The job was asked to stop.
        """
        try:
            found = self._measure(params, clip)
        except TruthLostError as error:
            logger.warning("measured without the truth: %s", error)
            alone = replace(clip, truth=None, without_truth=Missing.TRUTH_UNREADABLE)
            found = self._measure(params, alone)
        return found.artifact(protocol)

    def _measure(self, params: ScoreParams, clip: Clip) -> Measurement:
        if missing := absent(params, clip):
            return Measurement({}, missing)
        match params.group:
            case "frames":
                return self._frames(params, clip)
            case "lpips":
                return self._lpips(params, clip)
            case "pose":
                poses, person = driving(clip.motion)
                return groups.measure_pose(self._found(clip), poses, person)
            case "identity":
                return self._identity(params, clip)
            case _:
                return of_features(params.group, self._features(params, clip))

    def _frames(self, params: ScoreParams, clip: Clip) -> Measurement:
        tiles = plan_tiles(len(clip.motion.poses), params.tile_size, params.tile_overlap)
        found = groups.measure_frames(
            paired(clip),
            tile_borders(tiles),
            params.definitions,
            without_truth=clip.without_truth,
            threads=self._threads,
        )
        return found.joined(alignment(clip.motion))

    def _lpips(self, params: ScoreParams, clip: Clip) -> Measurement:
        names = {"correct": "lpips", "disco": "lpips_disco"}
        wanted = [d for d in names if d in params.definitions]
        if clip.truth is None:
            return Measurement(
                {}, {names[d]: clip.without_truth or Missing.NO_TRUTH for d in wanted}
            )
        network, found = self._networks.lpips, Measurement({})
        for definition in wanted:
            distances = features.perceptual_distances(
                ((pair.result, pair.truth) for pair in paired(clip) if pair.truth is not None),
                network,
                device=self._context.device,
                batch=self._batch,
                scaled=definition == "correct",
            )
            found = found.joined(groups.measure_distance(names[definition], distances))
        return found

    def _features(self, params: ScoreParams, clip: Clip) -> np.ndarray:
        common: dict[str, Any] = {"device": self._context.device, "batch": self._batch}
        if params.group == "fid":
            network = self._networks.inception
            return features.frame_features(clip.shown(), network, side=INCEPTION_SIDE, **common)
        return features.clip_features(
            clip.shown(),
            self._networks.i3d if params.group == "fvd" else self._networks.videomae,
            side=_VIDEO_SIDE,
            length=params.window_frames,
            stride=params.window_stride,
            **common,
        )

    def _found(self, clip: Clip) -> PoseTrack:
        with closing(extract_poses(enumerate(clip.shown()), self._networks.pose)) as poses:
            frames = [frame for _, frame in poses]
        motion = clip.motion
        indices = list(range(len(frames)))
        return PoseTrack.from_frames(frames, indices, motion.height, motion.width, 0.0)

    def _identity(self, params: ScoreParams, clip: Clip) -> Measurement:
        network = self._networks.face
        height, width = network.input_size
        size = np.array([clip.motion.width, clip.motion.height], dtype=np.float64)
        wanted = FaceInput(
            height,
            width,
            mean=params.identity_mean or 0.0,
            scale=params.identity_scale or 1.0,
            bgr=params.identity_bgr,
        )
        still, row = clip.motion.poses[0], int(clip.motion.person[0])
        found = self._found(clip)
        poses = (best_detection(found[index], size) for index in range(len(found)))
        frames = ((image, *pose) for image, pose in zip(clip.shown(), poses, strict=True))
        reference = clip.reference(), still.keypoints[row] * size, still.scores[row]
        return groups.measure_identity(
            frames, reference, lambda faces: network(faces)[0], wanted, batch=self._batch
        )


def _protocol(unit: Unit, params: ScoreParams, motion: MotionField, context: Context) -> str:
    digests = {role: result.digest for role, result in unit.inputs.items()}
    weights = {role: d for role, d in digests.items() if role.startswith("weights_")}
    if params.group == "lpips":
        heads = heads_file(params.lpips_backbone)
        weights["heads"] = hashlib.sha256(heads.read_bytes()).hexdigest()
    if params.group in {"pose", "identity"}:
        cache = DigestCache(Path(context.config.store) / "weights.json")
        for file in (layout.DETECTOR, layout.WHOLE_BODY):
            weights[file] = cache.identity(find_file(context.config.models.folder, file))[1]
    video = unit.inputs.get("video")
    return describe(
        params,
        height=motion.height,
        width=motion.width,
        fps=float(video.facts["fps"]) if video is not None else None,
        driver_frames=motion.poses.frame_indices[1:].tolist(),
        weights=weights,
        inputs={role: d for role, d in digests.items() if role not in weights},
    )


class ScoreRepository(ArtifactRepository):
    """Artifacts whose values stand in the ledger, so that tables open no artifact."""

    def _done(self, unit: Unit, digest: str) -> Result:
        done = super()._done(unit, digest)
        found = self._store.attributes(unit.stage, unit.key)["values"]
        names, values, missing = found["metrics"], found["values"], found["missing"]
        shared = parse(found["protocol"].encode())["shared"]
        facts = {
            "values": {n: v for n, v, why in zip(names, values, missing, strict=True) if not why},
            "missing": {n: why for n, why in zip(names, missing, strict=True) if why},
            "protocol": fingerprint(shared),
        }
        return replace(done, facts=facts)


STAGE = Stage("score", REVISION, ScoreWorker, ScoreRepository, optional=frozenset({"truth"}))
