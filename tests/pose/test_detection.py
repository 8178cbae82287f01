from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.models.whole_body import detection
from tests.pose.fakes import cell_count


@pytest.mark.parametrize("shape", [(480, 360), (100, 900), (640, 640), (30, 20), (1, 2000)])
def test_letterbox_fits_the_top_left_corner(shape):
    """The image fills one side, grey fills the rest."""
    image = np.full((*shape, 3), 200, dtype=np.uint8)
    boxed, ratio = detection.letterbox(image, 160, 160)
    height, width = (max(int(side * ratio), 1) for side in shape)
    assert max(height, width) in {159, 160}
    assert (boxed[:height, :width] == 200).all()
    assert (boxed[height:] == 114).all()
    assert (boxed[:, width:] == 114).all()


def test_channels_are_not_swapped():
    """Frames enter as RGB although the detector was trained on BGR (Q14)."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[..., 0] = 250
    planes = detection.network_input([detection.letterbox(image, 64, 64)[0]])
    assert planes.dtype == np.float32
    assert planes[0].max(axis=(1, 2)).tolist() == [250, 0, 0]


@pytest.mark.parametrize("size", [(640, 640), (160, 160), (96, 160)])
def test_cells_cover_the_input(size):
    """A zero output decodes to one stride-sized box per cell, finest stride first."""
    output = np.zeros((cell_count(*size), 6), dtype=np.float32)
    boxes = detection.decode_boxes(output, *size)
    assert boxes[0].tolist() == [0, 0, 8, 8]
    assert boxes[1].tolist() == [8, 0, 8, 8]
    assert boxes[-1].tolist() == [size[1] - 32, size[0] - 32, 32, 32]


def brute_force_nms(boxes, scores, threshold):
    """Keep a box if no better kept one overlaps it; written for clearness."""

    def overlap(a, b):
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
        area = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
        return width * height / (sum(area) - width * height)

    kept = []
    for row in sorted(range(len(boxes)), key=lambda r: -scores[r]):
        if all(overlap(boxes[row], boxes[k]) <= threshold for k in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_nms_equals_its_definition(seed):
    """On random boxes."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (50, 2))
    boxes = np.hstack([corners, corners + rng.integers(5, 50, (50, 2))]).astype(np.float32)
    scores = rng.permutation(50).astype(np.float32)
    assert detection.nms(boxes, scores).tolist() == brute_force_nms(boxes, scores, 0.45)


def test_nms_of_nothing():
    """No boxes, none kept."""
    assert detection.nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)).shape == (0,)
    assert detection.class_nms(np.zeros((0, 4), np.float32), np.zeros((0, 3))).shape == (0, 6)


def raw_output(*cells, size=(160, 160), classes=3):
    """Cells (row, w, h, objectness, class, class score)."""
    output = np.zeros((cell_count(*size), 5 + classes), dtype=np.float32)
    for row, width, height, objectness, label, score in cells:
        output[row, 2:4] = np.log(width / 8), np.log(height / 8)
        output[row, 4], output[row, 5 + label] = objectness, score
    return output


def find(output, ratio=0.5):
    """Persons of a 320x320 frame."""
    return detection.find_persons(output, input_size=(160, 160), ratio=ratio, image_size=(320, 300))


def test_persons_are_sorted_and_scaled_back():
    """Best first, in pixels of the frame."""
    boxes, scores = find(raw_output((210, 16, 16, 0.5, 0, 0.9), (10, 8, 24, 0.9, 0, 0.9)))
    np.testing.assert_allclose(scores, [0.81, 0.45], rtol=1e-6)
    np.testing.assert_allclose(boxes[0], [(80 - 4) * 2, -12 * 2, (80 + 4) * 2, 12 * 2])


@pytest.mark.parametrize(
    "cell", [(10, 8, 8, 0.9, 1, 0.9), (10, 8, 8, 0.5, 0, 0.5), (10, 8, 8, 0.0, 0, 1.0)]
)
def test_without_a_person_the_whole_image_is_the_box(cell):
    """Other classes and scores up to 0.3 do not count; the box's own score is 0."""
    boxes, scores = find(raw_output(cell))
    assert boxes.tolist() == [[0, 0, 300, 320]]
    assert scores.tolist() == [0]


def test_a_better_box_of_another_class_does_not_hide_a_person():
    """Suppression is within a class."""
    boxes, _ = find(raw_output((10, 8, 8, 0.9, 1, 0.9), (10, 8, 8, 0.9, 0, 0.5)))
    assert len(boxes) == 1


def test_overflowing_boxes_are_dropped():
    """An untrained network may answer anything; no warning, no person."""
    output = raw_output((10, 8, 8, 0.9, 0, 0.9))
    output[10, 2] = 1e4
    assert find(output)[1].tolist() == [0]
