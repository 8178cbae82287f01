"""Networks made of arithmetic: a person is a bright rectangle on black."""

from __future__ import annotations

import numpy as np

from dispose_stages.models.whole_body.detection import STRIDES
from dispose_stages.models.whole_body.extraction import PoseNetworks

DETECTOR_SIZE = (160, 160)
ESTIMATOR_SIZE = (96, 72)
KEYPOINTS = 133


def cell_count(height, width):
    """Output rows of a YOLOX network."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def _bright_box(planes):
    """x1, y1, x2, y2 of what is brighter than the padding."""
    rows, columns = np.nonzero(planes[0] > 180)
    if not len(rows):
        return None
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def detect(images):
    """One cell per image whose box encloses the bright pixels; class 0, score 0.81."""
    batch, _, height, width = images.shape
    output = np.zeros((batch, cell_count(height, width), 6), dtype=np.float32)
    for row, planes in enumerate(images):
        box = _bright_box(planes)
        if box is not None:
            x1, y1, x2, y2 = box
            # Cell 0 lies at grid (0, 0) of stride 8.
            output[row, 0, :2] = (x1 + x2) / 16, (y1 + y2) / 16
            output[row, 0, 2:4] = np.log((x2 - x1) / 8), np.log((y2 - y1) / 8)
            output[row, 0, 4:] = 0.9
    return output


def estimate(images):
    """Every keypoint at the middle of the crop; score 0.8, or 0.1 in a black crop."""
    batch, _, height, width = images.shape
    simcc_x = np.zeros((batch, KEYPOINTS, width * 2), dtype=np.float32)
    simcc_y = np.zeros((batch, KEYPOINTS, height * 2), dtype=np.float32)
    bright = (images.max(axis=(1, 2, 3)) > 1.0)[:, None]
    simcc_x[:, :, width] = np.where(bright, 0.8, 0.1)
    simcc_y[:, :, height] = np.where(bright, 0.9, 0.2)
    return simcc_x, simcc_y


def networks(**changes):
    """Small fake networks for `dispose_stages.models.whole_body.extraction`."""
    values = {
        "detector": detect,
        "estimator": estimate,
        "detector_size": DETECTOR_SIZE,
        "estimator_size": ESTIMATOR_SIZE,
        "batch_size": 4,
    }
    return PoseNetworks(**{**values, **changes})


def scene(height, width, box=None):
    """A black frame with one bright rectangle (x1, y1, x2, y2)."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    if box is not None:
        x1, y1, x2, y2 = box
        image[y1:y2, x1:x2] = 255
    return image
