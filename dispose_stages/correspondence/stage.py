"""Stage ``correspondence``: diffusion features of a reference at its keypoints (algorithm §6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Correspondence, PoseTrack
from dispose_stages.batch.stage import Context, Stage
from dispose_stages.batch.unit import Unit
from dispose_stages.correspondence.embedding import keypoint_embedding
from dispose_stages.correspondence.features import diffusion_features, draw_noise, noise_seed
from dispose_stages.correspondence.unit import REVISION, CorrespondenceParams
from dispose_stages.errors import Reason, UnitError
from dispose_stages.geometry.frames import cover_resize
from dispose_stages.geometry.persons import select_reference_person
from dispose_stages.models.arithmetic import full_float32
from dispose_stages.models.dift import DiftNetwork
from dispose_stages.store.media import read_still
from dispose_stages.weights import layout
from dispose_stages.weights.loading.dift import load_dift

DTYPE = torch.float32


class CorrespondenceWorker:
    """Stable Diffusion up to the feature, loaded, the prompt embedded."""

    def __init__(self, network: DiftNetwork, context: Context) -> None:
        self._network = network
        self._context = context

    def read(self, unit: Unit) -> dict[str, Any]:
        """The pose, and the image at the pose's size.

        Raises:
            UnitError: The image cannot be read.
        """
        pose = self._context.read(unit, "pose", PoseTrack)
        params, compute = CorrespondenceParams.read(unit), self._context.config.compute
        image = read_still(unit.source("image"), params.reference_frame, compute)
        return {
            "image": cover_resize(image, pose.height, pose.width),
            "pose": pose,
            "params": params,
        }

    def compute(
        self,
        *,
        image: UInt8[np.ndarray, "height width 3"],
        pose: PoseTrack,
        params: CorrespondenceParams,
    ) -> Correspondence:
        """Features of one reference.

        Raises:
            UnitError: ``no_person_reference`` where its pose holds nobody, or ``not_finite`` where
                the network gave no number.
        """
        frame = pose[0]
        person = select_reference_person(frame, params.person)
        noise = draw_noise(noise_seed(image, params.seed), params.ensemble, pose.height, pose.width)
        with full_float32():
            features = diffusion_features(
                self._network,
                image,
                noise,
                timestep=params.timestep,
                batch=self._context.config.correspondence.unet_batch,
                device=self._context.device,
                dtype=DTYPE,
            ).cpu()
        if not bool(torch.isfinite(features).all()):
            raise UnitError(Reason.NUMERIC, "the features are not finite")
        embedding = keypoint_embedding(
            features,
            frame.keypoints[person, BODY_KEYPOINTS],
            frame.scores[person, BODY_KEYPOINTS] > VISIBLE_SCORE,
            pose.height,
            pose.width,
        )
        kept = np.ascontiguousarray(features.numpy()) if params.keep_feature_maps else None
        return Correspondence(embedding.numpy(), kept)


def load(context: Context) -> CorrespondenceWorker:
    """Load the networks and embed the prompt.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    network = load_dift(
        context.models_root / layout.SD15,
        prompt=context.config.correspondence.prompt,
        device=context.device,
        dtype=DTYPE,
    )
    return CorrespondenceWorker(network, context)


STAGE = Stage("correspondence", REVISION, open=load)
