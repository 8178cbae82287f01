"""Stage ``motion``: aligned poses and dense flow of a pair (algorithm §3, §5).

The artifact holds the aligned tracks and CMP's own 192 x 192 flow; both full-size fields are
rebuilt from it where they are used (`geometry.trajectory`, `geometry.dense_field`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int16, UInt8

from dispose_stages.artifacts import MotionField, PoseTrack
from dispose_stages.batch.stage import ArtifactRepository, Context, Stage
from dispose_stages.batch.unit import Result, Unit
from dispose_stages.config import Compat
from dispose_stages.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    Reason,
    UnitError,
)
from dispose_stages.geometry.dense_field import to_fixed_point
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.persons import check_reference
from dispose_stages.mapped import let_go, room
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.cmp import CmpNetwork
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.facts import pair_facts, pair_warnings
from dispose_stages.motion.propagation import CMP_SIZE, propagate_flow, sparse_impulses
from dispose_stages.motion.proportions import align_proportions
from dispose_stages.motion.unit import REVISION, MotionParams
from dispose_stages.store.media import read_still
from dispose_stages.weights import layout
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.verification import find_file

_logger = logging.getLogger(__name__)


class MotionWorker:
    """CMP, loaded.

    Args:
        network: CMP.
    """

    def __init__(self, network: CmpNetwork, context: Context) -> None:
        self._network = network
        self._context = context

    def read(self, unit: Unit) -> dict[str, Any]:
        """Both poses; the image is opened once the poses are known to fit.

        Raises:
            UnitError: The reference image cannot be read.
        """
        params = MotionParams.read(unit)
        reference = self._context.read(unit, "reference_pose", PoseTrack)

        def image() -> UInt8[np.ndarray, "height width 3"]:
            compute = self._context.config.compute
            opened = read_still(unit.source("image"), params.reference_frame, compute)
            return cover_resize(opened, reference.height, reference.width)

        return {
            "reference": reference,
            "driving": self._context.read(unit, "driving_pose", PoseTrack),
            "image": image,
            "params": params,
        }

    def compute(
        self,
        *,
        reference: PoseTrack,
        driving: PoseTrack,
        image: Callable[[], UInt8[np.ndarray, "height width 3"]],
        params: MotionParams,
    ) -> MotionField:
        """Align the driver and propagate its motion.

        Args:
            reference: Pose of the reference.
            driving: Poses of the driver.
            image: Gives the reference at target size. Asked after the alignment, before which
                most failures show.

        Raises:
            UnitError: The pair cannot be aligned (reasons of `align_pair` and
                `align_proportions`), or ``not_finite`` where the network gave no number.
        """
        tracks = align_pair(reference, driving, params)
        if params.align == "proportions":
            tracks = align_proportions(tracks, driving)
        return replace(tracks, cmp_flow=self._flow(tracks, image(), params.compat))

    def _flow(
        self, tracks: MotionField, image: UInt8[np.ndarray, "height width 3"], compat: Compat
    ) -> Int16[np.ndarray, "t 2 192 192"]:
        points, visible = tracks.body_track()
        impulses = sparse_impulses(points, visible, *image.shape[:2], compat=compat)
        fixed = room((len(impulses), 2, CMP_SIZE // 2, CMP_SIZE // 2), np.int16)
        done = 0
        with full_float32():
            for flow in propagate_flow(
                self._network,
                image,
                impulses,
                batch=self._context.config.motion.decoder_batch,
                device=self._context.device,
            ):
                if not np.isfinite(flow).all():
                    raise UnitError(Reason.NUMERIC, "CMP gave non-finite flow")
                fixed[done : done + len(flow)] = to_fixed_point(flow)
                let_go(fixed)
                done += len(flow)
        return fixed


class MotionRepository(ArtifactRepository):
    """Tells of detection and alignment beside the artifact."""

    def find(self, unit: Unit) -> Result | None:
        """The artifact if it is whole; one that would be refused today is not found."""
        params = MotionParams.read(unit)
        try:
            field = self._store.read(unit.stage, unit.key, MotionField)
            check_reference(
                field.poses[0],
                int(field.person[0]),
                params.min_visible_keypoints,
                allow_no_person=params.allow_no_person,
            )
        except ArtifactMissingError:
            return None
        except (ArtifactCorruptError, UnitError) as error:
            _logger.warning("%s; it will be computed again", error)
            return None
        found = super().find(unit)
        return found and _told(found, field, params)

    def commit(self, unit: Unit, artifact: MotionField) -> Result:
        """Write the artifact."""
        return _told(super().commit(unit, artifact), artifact, MotionParams.read(unit))


def _told(result: Result, field: MotionField, params: MotionParams) -> Result:
    warnings = pair_warnings(field, params.person, found_only=params.fit_found_persons)
    return replace(result, facts=pair_facts(field), warnings=warnings)


def load(context: Context) -> MotionWorker:
    """Load CMP.

    Raises:
        WeightsError: The checkpoint is missing or does not fit.
    """
    path = find_file(context.models_root, layout.CMP)
    return MotionWorker(load_cmp(path, device=context.device), context)


STAGE = Stage("motion", REVISION, open=load, repository=MotionRepository)
