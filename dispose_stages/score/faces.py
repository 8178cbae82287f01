"""Whether the face stays the reference's: embeddings of aligned faces.

A face is brought to the usual place of such networks by the similarity that fits eyes, nose and
corners of the mouth (Deng et al., 2019), which the pose network's 68 face keypoints give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from dispose_stages.artifacts import FACE_KEYPOINTS, VISIBLE_SCORE
from dispose_stages.score.similarity import Pixels

_LANDMARKS = ([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47], [30], [48], [54])
"""Of the 68: left and right eye of the picture, tip of the nose, corners of the mouth."""
_PLACES = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
_PLACES_SIDE = 112
FaceNetwork = Callable[[Float32[np.ndarray, "n 3 h w"]], Float32[np.ndarray, "n d"]]


@dataclass(frozen=True, slots=True)
class FaceInput:
    """What an embedding network wants to see.

    Attributes:
        height: Of its input, pixels.
        width: Of its input, pixels.
        mean: Subtracted from values in 0 to 255.
        scale: Then divided by.
        bgr: Channels in OpenCV's order.
    """

    height: int = 112
    width: int = 112
    mean: float = 127.5
    scale: float = 127.5
    bgr: bool = False


def landmarks(
    keypoints: Float64[np.ndarray, "134 2"], scores: Float64[np.ndarray, "134"]
) -> Float64[np.ndarray, "5 2"] | None:
    """Eyes, nose and mouth; None where one of them is not visible."""
    points, confidence = keypoints[FACE_KEYPOINTS], scores[FACE_KEYPOINTS]
    if any(confidence[group].min() <= VISIBLE_SCORE for group in _LANDMARKS):
        return None
    return np.stack([points[group].mean(axis=0) for group in _LANDMARKS])


def aligned_face(image: Pixels, points: Float64[np.ndarray, "5 2"], wanted: FaceInput) -> Pixels:
    """The face at the network's place and size.

    Args:
        image: RGB.
        points: Landmarks, pixels.
        wanted: By the network.
    """
    places = _PLACES * (wanted.width / _PLACES_SIDE, wanted.height / _PLACES_SIDE)
    matrix = _similarity(points, places)
    face = cv2.warpAffine(image, matrix, (wanted.width, wanted.height), flags=cv2.INTER_LINEAR)
    return np.asarray(face)


def _similarity(
    points: Float64[np.ndarray, "n 2"], places: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "2 3"]:
    """Turn, scale and shift that bring points nearest to places (least squares)."""
    # As complex numbers a turn with scale is one factor.
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (points, places))
    centred = z - z.mean()
    factor = np.vdot(centred, w - w.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    shift = w.mean() - factor * z.mean()
    a, b = factor.real, factor.imag
    return np.array([[a, -b, shift.real], [b, a, shift.imag]])


def embeddings(
    faces: Sequence[Pixels], network: FaceNetwork, wanted: FaceInput
) -> Float64[np.ndarray, "n d"]:
    """Unit vectors."""
    batch = np.stack(faces).astype(np.float32)
    if wanted.bgr:
        batch = batch[..., ::-1]
    values = network(((batch - wanted.mean) / wanted.scale).transpose(0, 3, 1, 2))
    vectors = np.asarray(values, dtype=np.float64).reshape(len(faces), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
