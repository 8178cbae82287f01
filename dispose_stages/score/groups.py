"""The groups of metrics: what each finds in one pair, and why where it finds nothing.

Pure functions of frames, poses and networks; `stage.py` opens what they read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from dispose_stages.artifacts import PoseTrack
from dispose_stages.missing import Missing
from dispose_stages.score.clip import FramePair, clip_values, scan_clip
from dispose_stages.score.faces import (
    FaceInput,
    FaceNetwork,
    aligned_face,
    embeddings,
    landmarks,
)
from dispose_stages.score.keypoints import (
    FoundPose,
    Tally,
    WantedPose,
    body_extent,
    compare_poses,
    head_size,
    person_shares,
)
from dispose_stages.score.measurement import Measurement
from dispose_stages.score.movement import movement_distance
from dispose_stages.score.similarity import Pixels

_COMPARED = {
    "correct": ("l1", "psnr", "ssim", "ms_ssim"),
    "disco": ("l1_disco", "psnr_disco", "ssim_disco"),
    "disco_uint8": ("psnr_disco_uint8",),
}
_STEPS = ("flicker", "warping_error")


def measure_frames(
    frames: Iterable[FramePair],
    borders: Bool[np.ndarray, "f_minus_1"],
    definitions: Sequence[str],
    *,
    without_truth: Missing | None = None,
    threads: int = 2,
) -> Measurement:
    """Everything that needs no network.

    Args:
        frames: Of the result, each with the true one, or all without.
        borders: Whether each step crosses a border of tiles.
        definitions: Of what is compared with the truth.
        without_truth: Why the frames have none.
        threads: That compute.
    """
    series = scan_clip(frames, definitions, threads=threads)
    values = clip_values(series, borders)
    count = len(next(iter(series.values()), ()))
    missing = {
        name: _why(name, count, has_border=bool(borders.any()))
        for name, value in values.items()
        if not math.isfinite(value)
    }
    if without_truth is not None:
        compared = [name for d in definitions for name in _COMPARED[d]]
        missing |= dict.fromkeys([*compared, "true_flicker", "flicker_excess"], without_truth)
    return Measurement(values, missing, series)


def _why(name: str, frames: int, *, has_border: bool) -> Missing:
    if name.startswith("drift_"):
        return Missing.SHORT_CLIP
    if name.startswith("seam_") or name.endswith(_STEPS) or name == "flicker_excess":
        if frames < 2:
            return Missing.ONE_FRAME
        if name.startswith("seam_") and not has_border:
            return Missing.ONE_TILE
        return Missing.NO_FLOW
    return Missing.TOO_SMALL


def measure_pose(found: PoseTrack, poses: PoseTrack, person: np.ndarray) -> Measurement:
    """The pose found again in the result against the aligned driving pose.

    Args:
        found: In the result's frames.
        poses: Of the driving frames, aligned.
        person: Row of the driving person per frame, -1 where it is lost.
    """
    seen, wanted = FoundPose.of(found), WantedPose.of(poses, person)
    tallies = compare_poses(seen, wanted)
    head = head_size(wanted)
    values = {name: tally.pooled for name, tally in tallies.items()}
    frames: dict[str, Float64[np.ndarray, "f"]] = {
        name: tally.per_frame for name, tally in tallies.items()
    }
    anybody = bool(seen.persons.any())
    missing = {
        name: _why_no_keypoint(name, tallies, anybody=anybody)
        for name, value in values.items()
        if not math.isfinite(value)
    }
    for part in ("body", "hands", "face"):
        name = f"akd_head_{part}"
        values[name] = values[f"akd_{part}"] / head
        if f"akd_{part}" in missing:
            missing[name] = missing[f"akd_{part}"]
        elif not math.isfinite(head):
            missing[name] = Missing.HEAD_HIDDEN
    values["movement_body"] = _movement(seen, wanted)
    if not math.isfinite(values["movement_body"]):
        missing["movement_body"] = _why_no_movement(seen, wanted)
    frames["persons"] = seen.persons.astype(np.float64)
    return Measurement({**values, **person_shares(seen)}, missing, frames, poses=found)


def _movement(seen: FoundPose, wanted: WantedPose) -> float:
    extent = body_extent(wanted)
    if not np.isfinite(extent).any() or not seen.persons.any():
        return math.nan
    found, asked = ((pose.points, pose.visible) for pose in (seen, wanted))
    return movement_distance(found, asked, float(np.nanmedian(extent)))


def _why_no_movement(seen: FoundPose, wanted: WantedPose) -> Missing:
    if not np.isfinite(body_extent(wanted)).any():
        return Missing.NOT_WANTED
    return Missing.SHORT_CLIP if seen.persons.any() else Missing.NO_PERSON


def _why_no_keypoint(name: str, tallies: Mapping[str, Tally], *, anybody: bool) -> Missing:
    part = name.rsplit("_", 1)[1]
    if name.startswith("spurious_"):
        return Missing.ALL_WANTED
    if not tallies[f"missing_{part}"].count.any():
        return Missing.NOT_WANTED
    return Missing.NOT_FOUND if anybody else Missing.NO_PERSON


def measure_distance(name: str, distances: Float64[np.ndarray, "f"]) -> Measurement:
    """A distance to the truth per frame, and its mean."""
    if not np.isfinite(distances).all():
        return Measurement({}, {name: Missing.NOT_FINITE})
    return Measurement({name: float(distances.mean())}, frames={name: distances})


def measure_identity(
    frames: Iterable[tuple[Pixels, Float64[np.ndarray, "134 2"], Float64[np.ndarray, "134"]]],
    reference: tuple[Pixels, Float64[np.ndarray, "134 2"], Float64[np.ndarray, "134"]],
    network: FaceNetwork,
    wanted: FaceInput,
    *,
    batch: int,
) -> Measurement:
    """How like the reference's face that of every frame is (cosine of embeddings).

    Args:
        frames: Each with the keypoints (pixels) and scores of its best detection.
        reference: The reference image, with the same.
        network: Faces to embeddings.
        wanted: By the network.
        batch: Faces at a time.
    """
    face = _face(*reference, wanted)
    if face is None:
        return Measurement({}, {"identity": Missing.REFERENCE_FACE_HIDDEN})
    own = embeddings([face], network, wanted)[0]
    similarity: list[float] = []
    waiting: list[tuple[int, Pixels]] = []

    def settle() -> None:
        found = embeddings([image for _, image in waiting], network, wanted) @ own
        for (index, _), value in zip(waiting, found.tolist(), strict=True):
            similarity[index] = value
        waiting.clear()

    for index, frame in enumerate(frames):
        similarity.append(math.nan)
        face = _face(*frame, wanted)
        if face is not None:
            waiting.append((index, face))
        if len(waiting) == batch:
            settle()
    if waiting:
        settle()
    values = np.array(similarity)
    seen = np.isfinite(values)
    shown = {"identity_frames": float(seen.mean()) if len(values) else 0.0}
    if not seen.any():
        return Measurement(shown, {"identity": Missing.FACE_HIDDEN}, {"identity": values})
    return Measurement({"identity": float(values[seen].mean()), **shown}, {}, {"identity": values})


def _face(
    image: Pixels,
    keypoints: Float64[np.ndarray, "134 2"],
    scores: Float64[np.ndarray, "134"],
    wanted: FaceInput,
) -> Pixels | None:
    points = landmarks(keypoints, scores)
    return None if points is None else aligned_face(image, points, wanted)
