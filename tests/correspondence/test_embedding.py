from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dispose_stages.correspondence.embedding import keypoint_embedding


@pytest.mark.parametrize(("height", "width"), [(128, 64), (64, 128), (192, 192)])
def test_equals_reading_the_enlarged_map(height: int, width: int) -> None:
    """Q2: the map resized to `width` rows and `height` columns, read at swapped coordinates."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((6, height // 16, width // 16)))
    points = rng.random((18, 2)) * 1.4 - 0.2
    visible = rng.random(18) > 0.3
    enlarged = F.interpolate(features[None], size=(width, height), mode="bilinear")[0]
    actual = keypoint_embedding(features, points, visible, height, width)
    assert actual.shape == (18, 6)
    for keypoint in range(18):
        column = int(np.clip(int(points[keypoint, 0] * height), 0, height - 1))
        row = int(np.clip(int(points[keypoint, 1] * width), 0, width - 1))
        expected = enlarged[:, row, column] * float(visible[keypoint])
        torch.testing.assert_close(actual[keypoint], expected)


def test_hidden_keypoints_are_zero_even_in_a_broken_map() -> None:
    """Zero, not NaN times zero."""
    features = torch.full((2, 4, 4), float("nan"))
    embedding = keypoint_embedding(features, np.full((18, 2), 0.5), np.zeros(18, bool), 64, 64)
    assert not embedding.any()
