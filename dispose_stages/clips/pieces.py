"""Pieces of a video, from poses of some of its frames: which of them can drive, and why not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame
from dispose_stages.geometry.persons import is_found, visible_keypoints

STEP_SECONDS = 0.5
"""Between frames that are looked at."""
_SEEN_KEYPOINTS = 8
"""Visible body keypoints from which a person is seen well enough to drive."""
_MOVING_KEYPOINTS = 2
"""So many move as much as is said, so that one that jumps is no motion."""


class Verdict(StrEnum):
    """What a piece is good for."""

    CLIP = "clip"
    NOBODY = "nobody"
    SEVERAL_PERSONS = "several_persons"
    TOO_LITTLE_SEEN = "too_little_seen"
    TOO_SHORT = "too_short"
    NO_MOTION = "no_motion"


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one scene that show the same number of persons.

    Attributes:
        first: Frame.
        last: Frame, included.
        verdict: What it is good for.
        motion: Of its one person, in body sizes; 0 where there is none.
        count: How many frames a row reads of it, if it is a clip.
        pictures: Some of its frames with the persons that were found, as JPEG.
    """

    first: int
    last: int
    verdict: Verdict
    seconds: float
    motion: float = 0.0
    count: int = 0
    pictures: Mapping[int, bytes] = field(default_factory=dict)


def scene_samples(frames: int, cuts: Sequence[int], fps: float) -> list[list[int]]:
    """Frames to look at, scene by scene: the first, the last, and evenly between them."""
    borders = [0, *(cut for cut in cuts if cut < frames), frames]
    step = max(1, round(STEP_SECONDS * fps))
    return [
        sorted({*range(first, end, step), end - 1}) for first, end in itertools.pairwise(borders)
    ]


def find_pieces(
    samples: Sequence[tuple[int, Frame]],
    size: tuple[int, int],
    fps: float,
    *,
    min_seconds: float,
    min_motion: float,
) -> Iterator[Piece]:
    """Pieces of one scene, in order.

    Args:
        samples: Index and persons of the frames of the scene that were looked at, ascending.
        size: Height and width of the frames, pixels.
        min_motion: Of a clip, as in `Piece`.
    """
    for seen, run in itertools.groupby(samples, lambda sample: _seen(sample[1])):
        indices, poses = zip(*run, strict=True)
        first, last = indices[0], indices[-1]
        seconds = (last + 1 - first) / fps
        if seen is not Verdict.CLIP:
            yield Piece(first, last, seen, seconds)
            continue
        motion = _motion(poses, size)
        verdict = Verdict.CLIP
        if seconds < min_seconds:
            verdict = Verdict.TOO_SHORT
        elif motion < min_motion:
            verdict = Verdict.NO_MOTION
        yield Piece(first, last, verdict, seconds, motion)


def _seen(pose: Frame) -> Verdict:
    found = [person for person in range(pose.persons) if is_found(pose, person)]
    if len(found) != 1:
        return Verdict.SEVERAL_PERSONS if found else Verdict.NOBODY
    enough = visible_keypoints(pose, found[0]) >= _SEEN_KEYPOINTS
    return Verdict.CLIP if enough else Verdict.TOO_LITTLE_SEEN


def _motion(poses: Sequence[Frame], size: tuple[int, int]) -> float:
    """How far the body's keypoints stray from their mean places, in body sizes.

    Where the limbs go, not how often; of the second-most restless keypoint.
    """
    points: Float64[np.ndarray, "f 18 2"] = np.stack(
        [p.keypoints[0, BODY_KEYPOINTS] for p in poses]
    )
    visible = np.stack([p.scores[0, BODY_KEYPOINTS] > VISIBLE_SCORE for p in poses])
    body = float(np.median([np.ptp(p.boxes[0].reshape(2, 2), axis=0).max() for p in poses]))
    pixels = np.where(visible[..., None], points * size[::-1], np.nan)
    often = visible.mean(axis=0) >= 0.5
    if not often.any() or body <= 0:
        return 0.0
    stray = np.sqrt(np.nanvar(pixels[:, often], axis=0).sum(axis=-1)) / body
    return float(np.sort(stray)[-min(_MOVING_KEYPOINTS, len(stray))])
