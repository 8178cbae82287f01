"""Training examples for the tiny detector and pose network, from the procedural world."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from dispose_stages.training.bundle.pose_networks import DETECTOR_SIZE, POSE_HEIGHT, POSE_WIDTH
from dispose_stages.training.world.scene import OUTSIDE, RenderedFrame, random_scene

FRAMES_PER_SCENE = 3
MOST_PERSONS = 3
_BOX_PADDING = 1.25


def draw_frames(
    seed: int, *, persons: int | None = None, whole: bool | None = None
) -> list[RenderedFrame]:
    """Some frames of one scene of random size and cast."""
    rng = np.random.default_rng((seed, 1))
    height = int(rng.choice([160, 192, 256, 384, 512]))
    width = int(height * rng.choice([0.5625, 0.66, 0.75, 1.0]))
    scene = random_scene(
        seed,
        height=height,
        width=width,
        frames=FRAMES_PER_SCENE,
        fps=2.0,
        actors=persons if persons is not None else int(rng.choice(4, p=[0.08, 0.67, 0.17, 0.08])),
        whole=whole if whole is not None else bool(rng.uniform() < 0.6),
    )
    count = FRAMES_PER_SCENE if scene.actors else 1
    return [scene.render(frame) for frame in range(count)]


def pose_examples(
    count: int, seed: int
) -> tuple[UInt8[np.ndarray, "n 192 144 3"], Float32[np.ndarray, "n 133 2"]]:
    """Crops around figures, with boxes as inexact as a detector's, and the keypoints in them.

    Keypoints are in pixels of the crop; NaN where there is none.
    """
    crops = np.empty((count, POSE_HEIGHT, POSE_WIDTH, 3), dtype=np.uint8)
    keypoints = np.empty((count, 133, 2), dtype=np.float32)
    made = 0
    while made < count:
        seed += 1
        rng = np.random.default_rng((seed, 2))
        for frame in draw_frames(seed, persons=1 + int(rng.uniform() < 0.1)):
            if made == count:
                break
            crops[made], keypoints[made] = crop_person(frame, len(frame.boxes) - 1, rng)
            made += 1
    return crops, keypoints


def crop_person(
    frame: RenderedFrame, person: int, rng: np.random.Generator | None
) -> tuple[UInt8[np.ndarray, "192 144 3"], Float32[np.ndarray, "133 2"]]:
    """The crop the pose network sees (algorithm §2) and the keypoints in it.

    Args:
        rng: Shakes the box and the colours; exact without.
    """
    low, high = frame.boxes[person, :2], frame.boxes[person, 2:]
    center, size = 0.5 * (low + high), np.maximum(high - low, 2.0)
    if rng is not None:
        center = center + rng.normal(0, 0.04, 2) * size
        size = size * np.exp(rng.normal(0, 0.09, 2))
    size = size * _BOX_PADDING
    aspect = POSE_WIDTH / POSE_HEIGHT
    size = np.array([max(size[0], size[1] * aspect), max(size[1], size[0] / aspect)])
    scale = np.array([POSE_WIDTH, POSE_HEIGHT]) / size
    matrix = np.column_stack([np.diag(scale), scale * (0.5 * size - center)])
    crop = cv2.warpAffine(frame.image, matrix, (POSE_WIDTH, POSE_HEIGHT), flags=cv2.INTER_LINEAR)
    points = frame.keypoints[person, :, :2] * scale + matrix[:, 2]
    lost = (frame.keypoints[person, :, 2] == OUTSIDE) | (
        (points < 0) | (points >= [POSE_WIDTH, POSE_HEIGHT])
    ).any(axis=1)
    points[lost] = np.nan
    return (shake_colors(crop, rng) if rng is not None else crop), points.astype(np.float32)


def detection_examples(
    count: int, seed: int
) -> tuple[UInt8[np.ndarray, "n s s 3"], Float32[np.ndarray, "n p 4"]]:
    """Images, letterboxed as for the detector (algorithm §2), and the figures' boxes in them.

    Boxes are ``x1, y1, x2, y2``; NaN where there is none.
    """
    images = np.full((count, DETECTOR_SIZE, DETECTOR_SIZE, 3), 114, dtype=np.uint8)
    boxes = np.full((count, MOST_PERSONS, 4), np.nan, dtype=np.float32)
    made = 0
    while made < count:
        seed += 1
        rng = np.random.default_rng((seed, 3))
        for frame in draw_frames(seed):
            if made == count:
                break
            height, width = frame.image.shape[:2]
            ratio = DETECTOR_SIZE / max(height, width)
            small = cv2.resize(frame.image, (int(width * ratio), int(height * ratio)))
            shaken = shake_colors(np.asarray(small, dtype=np.uint8), rng)
            images[made, : small.shape[0], : small.shape[1]] = shaken
            boxes[made, : len(frame.boxes)] = frame.boxes * ratio
            made += 1
    return images, boxes


def shake_colors(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Another light, grain, or a blur such as a video codec leaves."""
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, 3)
    grain = rng.normal(0, rng.uniform(0, 6), image.shape[:2])[:, :, None]
    shaken = np.clip(image * gain + rng.uniform(-15, 15) + grain, 0, 255).astype(np.uint8)
    if rng.uniform() < 0.4:
        blurred = cv2.GaussianBlur(shaken, (0, 0), rng.uniform(0.3, 1.2))
        return np.asarray(blurred, dtype=np.uint8)
    return shaken
