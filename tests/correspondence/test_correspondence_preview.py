from __future__ import annotations

import numpy as np
import pytest

from dispose_stages.artifacts import Correspondence
from dispose_stages.correspondence.preview import preview_similarity, similarity_map


def correspondence() -> Correspondence:
    """Keypoint 3's feature is found in one cell, the opposite one elsewhere."""
    features = np.zeros((5, 8, 4), dtype=np.float32)
    features[0] = -1.0
    features[0, 6, 1] = 2.0
    embedding = np.zeros((18, 5), dtype=np.float32)
    embedding[3, 0] = 1.0
    return Correspondence(embedding, features)


def test_similarity_is_a_cosine() -> None:
    """1 where the feature is, -1 where its opposite is, 0 for a hidden keypoint."""
    example = correspondence()
    assert example.feature_map is not None
    similarity = similarity_map(example.feature_map, example.embedding[3])
    assert similarity[6, 1] == pytest.approx(1)
    assert similarity[0, 0] == pytest.approx(-1)
    assert not similarity_map(example.feature_map, example.embedding[0]).any()


def test_picture_is_red_where_it_resembles() -> None:
    """Most alike is red, least alike blue, the keypoint circled."""
    image = np.zeros((128, 64, 3), dtype=np.uint8)
    picture = preview_similarity(image, correspondence(), np.array([0.9, 0.1]), 3)
    assert picture.shape == image.shape
    red, blue = picture[6 * 16 + 8, 16 + 8], picture[20, 20]
    assert red[0] > red[2] + 30
    assert blue[2] > blue[0] + 30
    assert (picture[12, 55:60] == 255).all(axis=-1).any()


def test_map_must_have_been_kept() -> None:
    """Without it there is one clear message."""
    bare = Correspondence(correspondence().embedding)
    with pytest.raises(ValueError, match="keep_feature_maps"):
        preview_similarity(np.zeros((64, 64, 3), dtype=np.uint8), bare, np.array([0.5, 0.5]), 3)
