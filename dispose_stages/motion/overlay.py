"""Reference, driver, and both alignments of a pair as skeletons over each other.

White is the reference, grey the driver as it is (its frame as high as the picture, its middle where
the official fit's is), red the official fit, green the fit by proportions.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, MotionField, PoseTrack
from dispose_stages.geometry.skeleton import LIMBS

Image = UInt8[np.ndarray, "height width 3"]
Colour = tuple[int, int, int]
REFERENCE, DRIVER, OFFICIAL, PROPORTIONS = (
    (255, 255, 255),
    (130, 130, 130),
    (235, 70, 60),
    (60, 210, 90),
)
_LINE_SCALE = 220


def draw_skeleton(
    image: Image,
    points: Float64[np.ndarray, "k 2"],
    seen: Bool[np.ndarray, "k"],
    colour: Colour,
) -> None:
    """The limbs of a body between visible ends, in place.

    Args:
        image: RGB.
        points: Pixels; the first 18 are used.
        seen: Which of them are visible.
        colour: RGB.
    """
    width = max(1, max(image.shape[:2]) // _LINE_SCALE)
    ends = np.clip(np.rint(points), -9999, 9999).astype(int)
    for first, last in LIMBS:
        if seen[first] and seen[last]:
            cv2.line(image, ends[first].tolist(), ends[last].tolist(), colour, width, cv2.LINE_AA)


def overlay_skeletons(
    size: tuple[int, int],
    skeletons: Sequence[tuple[Float64[np.ndarray, "k 2"], Bool[np.ndarray, "k"], Colour]],
) -> Image:
    """Bodies over each other on black.

    Args:
        size: Height and width, pixels.
        skeletons: Points (pixels), which are visible, colour; later ones on top.
    """
    image = np.zeros((*size, 3), dtype=np.uint8)
    for points, seen, colour in skeletons:
        draw_skeleton(image, points, seen, colour)
    return image


def preview_alignment(motion: MotionField, driving: PoseTrack, frames: Sequence[int]) -> Image:
    """A picture per frame, side by side, with the pair's figures below.

    Args:
        motion: Artifact of the stage.
        driving: Poses of the driving video, not aligned.
        frames: Driving frames to show, from 0; at least one. Those without the person show the
            reference alone.
    """
    size = motion.height, motion.width
    pictures = [overlay_skeletons(size, aligned_bodies(motion, driving, f)) for f in frames]
    sheet = np.concatenate(pictures, axis=1)
    return np.concatenate([sheet, _caption(motion, sheet.shape[1])])


def aligned_bodies(
    motion: MotionField, driving: PoseTrack, frame: int
) -> list[tuple[Float64[np.ndarray, "18 2"], Bool[np.ndarray, "18"], Colour]]:
    """What `overlay_skeletons` draws of a driving frame, in pixels of the target.

    The reference alone where the frame lacks the person; without a fit by proportions where that
    was not followed.
    """
    size, still = (motion.height, motion.width), motion.poses[0]
    person, row = int(motion.person[0]), int(motion.person[frame + 1])
    seen = still.scores[person, BODY_KEYPOINTS] > VISIBLE_SCORE
    reference = (_pixels(still.keypoints[person], size), seen, REFERENCE)
    return [reference, *(_driver(motion, driving, frame, row) if row >= 0 else [])]


def _driver(
    motion: MotionField, driving: PoseTrack, frame: int, row: int
) -> list[tuple[np.ndarray, np.ndarray, Colour]]:
    size = motion.height, motion.width
    seen = driving[frame].scores[row, BODY_KEYPOINTS] > VISIBLE_SCORE
    raw = driving[frame].keypoints[row, BODY_KEYPOINTS]
    official = _pixels(raw * motion.scale + motion.shift, size)
    own = _pixels(raw, (motion.height, motion.height / driving.height * driving.width))
    own = own + (official - own).mean(axis=0)
    bodies = [(own, seen, DRIVER), (official, seen, OFFICIAL)]
    if motion.retargeting is not None and motion.retargeting.used:
        bodies.append((_pixels(motion.poses[frame + 1].keypoints[row], size), seen, PROPORTIONS))
    return bodies


def _pixels(points: Float64[np.ndarray, "k 2"], size: tuple[float, float]) -> np.ndarray:
    return np.asarray(points[BODY_KEYPOINTS] * (size[1], size[0]))


def alignment_figures(motion: MotionField) -> list[str]:
    """What is to be said below the picture, line by line."""
    lines = [f"official: scale {motion.scale[1]:.3f}, residual {motion.residual:.3f}"]
    measured = motion.retargeting
    if measured is None:
        return lines
    verdict = "followed" if measured.used else "not told from like bodies: official"
    lines.append(
        f"proportions: distinct {measured.distinct:.2f}, {verdict}; {measured.displacement:.3f} of "
        f"the height from official, ground slip {measured.ground_slip:.3f}"
    )
    named = zip(measured.limbs, measured.ratio, measured.seen, strict=True)
    parts = [f"{name} {ratio / measured.body:.2f} ({seen:.0%})" for name, ratio, seen in named]
    return [*lines, ", ".join(parts[:5]), ", ".join(parts[5:])]


def _caption(motion: MotionField, width: int) -> Image:
    lines = alignment_figures(motion)
    font = cv2.FONT_HERSHEY_SIMPLEX
    longest = max(cv2.getTextSize(line, font, 1.0, 1)[0][0] for line in lines)
    scale = min(0.6, (width - 8) / longest)
    step = max(8, round(34 * scale))
    image = np.zeros((step * len(lines) + 6, width, 3), dtype=np.uint8)
    for index, line in enumerate(lines, start=1):
        place = (4, step * index - step // 4)
        cv2.putText(image, line, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return image
