"""Where in the reference the features resemble those of one keypoint; for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dispose_stages.artifacts import Correspondence

MARKER_COLOUR = (255, 255, 255)


def similarity_map(
    feature_map: Float32[np.ndarray, "c h w"], embedding: Float32[np.ndarray, "c"]
) -> Float32[np.ndarray, "h w"]:
    """Cosine similarity of every cell's feature with one embedding; 0 for an all-zero one."""
    norms = np.linalg.norm(feature_map, axis=0) * np.linalg.norm(embedding)
    products = np.einsum("chw,c->hw", feature_map, embedding)
    similarity = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.asarray(similarity, dtype=np.float32)


def preview_similarity(
    image: UInt8[np.ndarray, "height width 3"],
    correspondence: Correspondence,
    point: Float64[np.ndarray, "2"],
    keypoint: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """The reference under its similarity to one keypoint, from blue (least) to red (most).

    The embedding is read with swapped axes (Q2), so the brightest place need not be the keypoint
    unless the image is square.

    Args:
        image: Reference at target size, RGB.
        correspondence: Artifact of the stage, with its feature map.
        point: The keypoint in the image, normalised ``(x, y)``; marked by a circle.
        keypoint: Its index, 0 to 17.

    Raises:
        ValueError: The feature map was not kept.
    """
    if correspondence.feature_map is None:
        msg = "the feature map was not kept; set correspondence.keep_feature_maps: true"
        raise ValueError(msg)
    similarity = similarity_map(correspondence.feature_map, correspondence.embedding[keypoint])
    height, width = image.shape[:2]
    low, high = float(similarity.min()), float(similarity.max())
    levels = np.rint((similarity - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    enlarged = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.cvtColor(cv2.applyColorMap(enlarged, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    out = cv2.addWeighted(np.ascontiguousarray(image), 0.4, heat, 0.6, 0.0)
    column, row = np.clip(point * (width, height), 0, (width - 1, height - 1))
    radius = max(2, min(height, width) // 60)
    cv2.circle(out, (int(column), int(row)), radius, MARKER_COLOUR, max(1, radius // 3))
    return np.asarray(out, dtype=np.uint8)
