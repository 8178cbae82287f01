"""Frames → whole-body poses, with decoding, detection and estimation overlapped.

Three threads form a chain: one decodes, one detects and crops, the caller's estimates. Frames are
held only until their persons are cropped, so memory does not grow with the video.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from dispose_stages.artifacts import Frame
from dispose_stages.models.prefetch import prefetch
from dispose_stages.models.whole_body import detection, estimation

Image = UInt8[np.ndarray, "h w 3"]
FRAMES_AHEAD = 2
BATCHES_AHEAD = 1
BATCH_BYTES = 256 * 2**20
"""Frames of one batch hold at most so much, whatever their size (but one frame always goes)."""


@dataclass(frozen=True, slots=True)
class PoseNetworks:
    """The two networks as plain callables.

    Attributes:
        detector: Letterboxed RGB planes, 0 to 255 → raw cells.
        estimator: Normalised crops → SimCC x and y.
        detector_size: Height and width of the detector's input.
        estimator_size: Height and width of the estimator's input.
        batch_size: Frames or crops per call.
    """

    detector: detection.Detector
    estimator: estimation.Estimator
    detector_size: tuple[int, int] = (640, 640)
    estimator_size: tuple[int, int] = (384, 288)
    batch_size: int = 8


Cropped = tuple[list[UInt8[np.ndarray, "h w 3"]], Callable[..., tuple[int, Frame]]]
"""The persons of a frame, and what makes its pose of what the estimator says of them: locations and
scores, decoded. The frame's own pixels are gone."""


def _batches(frames: Iterable[tuple[int, Image]], size: int) -> Iterator[list[tuple[int, Image]]]:
    batch: list[tuple[int, Image]] = []
    for index, image in frames:
        batch.append((index, image))
        if len(batch) >= min(size, max(1, BATCH_BYTES // image.nbytes)):
            yield batch
            batch = []
    if batch:
        yield batch


def _detect_batch(batch: list[tuple[int, Image]], networks: PoseNetworks) -> list[Cropped]:
    boxed, ratios = zip(
        *(detection.letterbox(image, *networks.detector_size) for _, image in batch), strict=True
    )
    outputs = networks.detector(detection.network_input(list(boxed)))
    return [
        _crop(index, image, output, ratio, networks)
        for (index, image), output, ratio in zip(batch, outputs, ratios, strict=True)
    ]


def _detect(frames: Iterator[tuple[int, Image]], networks: PoseNetworks) -> Iterator[list[Cropped]]:
    """Boxes and crops, batch by batch."""
    with closing(prefetch(frames, FRAMES_AHEAD)) as ahead:
        for batch in _batches(ahead, networks.batch_size):
            yield _detect_batch(batch, networks)


def _crop(
    index: int, image: Image, output: np.ndarray, ratio: float, networks: PoseNetworks
) -> Cropped:
    height, width = networks.estimator_size
    image_size = (image.shape[0], image.shape[1])
    boxes, box_scores = detection.find_persons(
        output, input_size=networks.detector_size, ratio=ratio, image_size=image_size
    )
    centres, sizes = estimation.box_centre_and_size(boxes, width / height)
    crops = [
        estimation.crop_person(image, centre, size, height, width)
        for centre, size in zip(centres, sizes, strict=True)
    ]

    def pose(locations: np.ndarray, scores: np.ndarray) -> tuple[int, Frame]:
        keypoints = estimation.to_frame(locations, centres, sizes, (height, width))
        return index, estimation.frame_pose(keypoints, scores, boxes, box_scores, image_size)

    return crops, pose


def _estimate(batch: list[Cropped], networks: PoseNetworks) -> Iterator[tuple[int, Frame]]:
    """Keypoints of all persons of a batch of frames."""
    crops = [crop for of_frame, _ in batch for crop in of_frame]
    pieces = []
    for start in range(0, len(crops), networks.batch_size):
        chunk = estimation.network_input(crops[start : start + networks.batch_size])
        pieces.append(estimation.decode_simcc(*networks.estimator(chunk)))
    locations = np.concatenate([location for location, _ in pieces])
    scores = np.concatenate([score for _, score in pieces])
    first = 0
    for of_frame, pose in batch:
        rows = slice(first, first + len(of_frame))
        first = rows.stop
        yield pose(locations[rows], scores[rows])


def extract_poses(
    frames: Iterator[tuple[int, Image]], networks: PoseNetworks
) -> Generator[tuple[int, Frame], None, None]:
    """Poses of all persons of every frame, in order, as a stream.

    Args:
        frames: Index and RGB image.
        networks: Detector and estimator.

    Yields:
        Index and pose; coordinates are normalised by the frame's size.
    """
    with closing(prefetch(_detect(frames, networks), BATCHES_AHEAD)) as detected:
        for batch in detected:
            yield from _estimate(batch, networks)


def extract_pose(image: Image, networks: PoseNetworks) -> Frame:
    """Pose of all persons of one image."""
    ((_, frame),) = _estimate(_detect_batch([(0, image)], networks), networks)
    return frame
