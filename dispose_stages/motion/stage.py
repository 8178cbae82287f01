"""Stage ``motion``: aligned poses and dense flow of a pair (algorithm §3, §5).

The artifact holds the aligned tracks and CMP's own 192 x 192 flow; both full-size fields are
rebuilt from it where they are used (`geometry.trajectory`, `geometry.dense_field`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Int16, UInt8

from dispose_stages.artifacts import MotionField, PoseTrack
from dispose_stages.batch.unit import ArtifactRepository, Context, ReadyUnit, Repository
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.motion import REVISION
from dispose_stages.motion.alignment import AlignmentBounds, align_pair
from dispose_stages.motion.propagation import propagate_flow
from dispose_stages.motion.sparse_input import sparse_impulses
from dispose_stages.store.media import read_image
from dispose_stages.weights import layout
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.verification import find_file


class MotionWorker:
    """CMP, loaded.

    Args:
        network: CMP.
        context: Of the job.
    """

    def __init__(self, network: CmpNetwork, context: Context) -> None:
        self._network = network
        self._context = context

    def compute(self, unit: ReadyUnit) -> MotionField:
        """Align the driver and propagate its motion.

        Raises:
            UnitError: The pair cannot be aligned (reasons of `align_pair`), the reference image
                cannot be read, or ``not_finite`` where the network gave no number.
        """
        reference = self._read_pose(unit, "reference_pose")
        driving = self._read_pose(unit, "driving_pose")
        # Before the image is decoded or the network runs: most failures show here.
        pair = align_pair(reference, driving, unit.params["person"], _bounds(unit))
        image = cover_resize(read_image(unit.sources["image"]), reference.height, reference.width)
        tracks = MotionField(
            poses=pair.poses,
            person=pair.person,
            cmp_flow=np.empty((0, 2, 0, 0), dtype=np.int16),
            height=reference.height,
            width=reference.width,
            scale=pair.alignment.scale,
            shift=pair.alignment.shift,
            residual=pair.alignment.residual,
        )
        return replace(tracks, cmp_flow=self._flow(tracks, image, unit))

    def _flow(
        self, tracks: MotionField, image: UInt8[np.ndarray, "height width 3"], unit: ReadyUnit
    ) -> Int16[np.ndarray, "t 2 192 192"]:
        points, visible = tracks.body_track()
        impulses = sparse_impulses(points, visible, *image.shape[:2], compat=unit.params["compat"])
        with full_float32():
            flow = propagate_flow(
                self._network,
                image,
                impulses,
                batch=self._context.config.motion.decoder_batch,
                device=self._context.device,
            )
        if not np.isfinite(flow).all():
            raise UnitError(Reason.NUMERIC, f"{unit.label}: CMP gave non-finite flow")
        return to_fixed_point(flow)

    def _read_pose(self, unit: ReadyUnit, role: str) -> PoseTrack:
        upstream = unit.upstream[role]
        return self._context.store.read(upstream.stage, upstream.key, PoseTrack)


def _bounds(unit: ReadyUnit) -> AlignmentBounds:
    params = unit.params
    return AlignmentBounds(
        min_visible_keypoints=params["min_visible_keypoints"],
        min_scale=params["min_alignment_scale"],
        max_scale=params["max_alignment_scale"],
        max_residual=params["max_alignment_residual"],
    )


class MotionStage:
    """Motion of a pair."""

    name: ClassVar[str] = "motion"
    revision: ClassVar[int] = REVISION

    def repository(self, context: Context) -> Repository:
        """The artifact store."""
        return ArtifactRepository(context.store)

    def open(self, context: Context) -> MotionWorker:
        """Load CMP.

        Raises:
            WeightsError: The checkpoint is missing or does not fit.
        """
        return MotionWorker(
            load_cmp(find_file(context.models_root, layout.CMP), device=context.device), context
        )


STAGE = MotionStage()
