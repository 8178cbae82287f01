"""Which person drives, where several are seen.

``first`` is the best detection, as in the original; ``largest`` the one with the largest box;
``tracked`` follows the best detection of the first frame through crossings, exits and returns
(`geometry.tracking`); ``index:N`` is
the N-th best detection, counted from 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.artifacts import BODY_KEYPOINTS, VISIBLE_SCORE, Frame, PoseTrack
from dispose_stages.errors import ConfigError, Reason, UnitError
from dispose_stages.geometry.tracking import NOT_FOUND, follow_persons

NEEDED_WITHOUT_DETECTION = 5
"""Visible body keypoints from which a reference may show somebody whom the detector missed."""


def _areas(boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n"]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides.prod(axis=1), dtype=np.float64)


def is_found(frame: Frame, person: int) -> bool:
    """Whether the detector found this person; where it finds nobody, the whole image is a box."""
    return person >= 0 and float(frame.box_scores[person]) > 0.0


def _index_of(rule: str) -> int:
    """The N of ``index:N``."""
    kind, _, number = rule.partition(":")
    if kind != "index" or not number.isdecimal():
        raise ConfigError(f"person: first, largest, tracked or index:N, not {rule!r}")
    return int(number)


def select_reference_person(frame: Frame, rule: str) -> int:
    """Row of the reference's person.

    A reference usually shows one person, so ``index:N`` falls back to the best detection where
    there are fewer.

    Raises:
        ConfigError: `rule` is none of the four.
        UnitError: ``no_person_reference``: the frame holds nobody.
    """
    if frame.persons == 0:
        raise UnitError(Reason.NO_PERSON_REFERENCE, "nobody was found in the reference image")
    if rule in {"first", "tracked"}:
        return 0
    if rule == "largest":
        return int(np.argmax(_areas(frame.boxes)))
    index = _index_of(rule)
    return index if index < frame.persons else 0


def select_persons(track: PoseTrack, rule: str) -> Int64[np.ndarray, "f"]:
    """Row of the driving person within each frame's persons, -1 where it was not found.

    Raises:
        ConfigError: `rule` is none of the four.
    """
    frames = [track[index] for index in range(len(track))]
    if rule == "tracked":
        followed = follow_persons(frames, track.height, track.width)
        return followed[0] if followed else np.full(len(frames), NOT_FOUND, dtype=np.int64)
    if rule == "largest":
        rows = [int(np.argmax(_areas(f.boxes))) if f.persons else NOT_FOUND for f in frames]
    else:
        index = 0 if rule == "first" else _index_of(rule)
        rows = [index if index < f.persons else NOT_FOUND for f in frames]
    return np.asarray(rows, dtype=np.int64)


def visible_keypoints(frame: Frame, person: int) -> int:
    """How many of a person's 18 body keypoints are visible."""
    return int((frame.scores[person, BODY_KEYPOINTS] > VISIBLE_SCORE).sum())


def check_reference(
    frame: Frame, person: int, min_visible_keypoints: int, *, allow_no_person: bool = True
) -> None:
    """Refuse a reference that cannot be animated, before any GPU time is spent on it.

    Args:
        frame: All persons of the reference.
        person: The one that is animated.
        min_visible_keypoints: Of its 18 body keypoints, at least so many must be visible.
        allow_no_person: Take the whole image for a person where the detector found nobody, however
            little is visible, as the original does.

    Raises:
        UnitError: ``no_person_reference`` where the detector found nobody and too little is
            visible in the whole image; ``pose_too_sparse`` where a person was found with too few
            visible keypoints.
    """
    visible, needed = visible_keypoints(frame, person), min_visible_keypoints
    nobody = not is_found(frame, person)
    if nobody and not allow_no_person:
        needed = max(needed, NEEDED_WITHOUT_DETECTION)
    if visible >= needed:
        return
    found = f"{visible} visible body keypoints, {needed} are needed"
    if nobody:
        raise UnitError(
            Reason.NO_PERSON_REFERENCE,
            f"nobody was found in the reference image ({found}); use a picture of one person, "
            "as large as possible",
        )
    raise UnitError(Reason.POSE_TOO_SPARSE, f"the reference shows too little of the body: {found}")
