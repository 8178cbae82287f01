"""Which metric sees which damage: known faults put into procedural truth, and what they cost.

The truth is a rendered clip, the result the same clip with one fault. Poses are found again by the
bundle's own detector. The table stands in docs/benchmark.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_poses
from dispose_stages.score.clip import FramePair, clip_values, scan_clip
from dispose_stages.score.groups import measure_pose
from dispose_stages.training.clips import motion_scene, render_clip
from dispose_stages.training.world.figure import Figure
from dispose_stages.training.world.scene import Scene
from dispose_stages.weights import layout
from dispose_stages.weights.loading.dwpose import load_dwpose
from dispose_stages.weights.verification import find_file
from dispose_stages.wording import markdown_table

PART = "damage"
"""Of the document."""
Clip = UInt8[np.ndarray, "f h w 3"]
HEIGHT, WIDTH, FRAMES = 288, 192, 30
MOTIONS = ("wave", "squat")
SEED = 7_000_000
SHOWN = (
    "psnr",
    "ssim",
    "flicker_excess",
    "warping_error",
    "seam_flicker",
    "drift_colour",
    "drift_sharpness",
    "pck_010_body",
    "akd_body",
    "movement_body",
)
SEAM_EVERY = 10
_RIGHT_ELBOW, _RIGHT_WRIST, _RIGHT_HAND = 8, 10, slice(112, 133)


def blur(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """Gaussian, deviation of 1.5 pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip])


def shift(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """Two pixels to the right."""
    return np.roll(clip, 2, axis=2)


def frozen(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """The first frame throughout."""
    return np.repeat(clip[:1], len(clip), axis=0)


def colour_drift(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """Red rises by a tenth of its range over the clip."""
    added = np.linspace(0, 25.5, len(clip))[:, None, None] * np.ones(clip.shape[1:3])
    drifted = clip.astype(np.float64)
    drifted[..., 0] += added
    return np.clip(np.rint(drifted), 0, 255).astype(np.uint8)


def seams(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """Brightness jumps by 8 levels, there and back, every ten frames."""
    jump = 8 * (np.arange(len(clip)) // SEAM_EVERY % 2)
    brighter = clip.astype(np.int16) + jump[:, None, None, None]
    return np.asarray(np.clip(brighter, 0, 255), dtype=np.uint8)


def wrong_limb(clip: Clip, scene: Scene, points: Float[np.ndarray, "f 133 3"]) -> Clip:
    """The right forearm and hand are taken off and put back a quarter of the height higher."""
    damaged = []
    for frame, keypoints in zip(clip, points, strict=True):
        limb = np.concatenate(
            [keypoints[[_RIGHT_ELBOW, _RIGHT_WRIST], :2], keypoints[_RIGHT_HAND, :2]]
        )
        mask = np.zeros(frame.shape[:2], np.uint8)
        cv2.polylines(
            mask, [np.rint(limb[:3]).astype(np.int32)], isClosed=False, color=1, thickness=17
        )
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(limb[1:]).astype(np.int32)), 1)
        mask = cv2.dilate(mask, np.ones((7, 7), np.uint8))
        without = np.where(mask[..., None] > 0, scene.background, frame)
        rise = frame.shape[0] // 4
        moved, where = np.roll(frame, -rise, axis=0), np.roll(mask, -rise, axis=0)
        damaged.append(np.where(where[..., None] > 0, moved, without))
    return np.stack(damaged).astype(np.uint8)


def other_identity(clip: Clip, scene: Scene, _points: np.ndarray) -> Clip:
    """Another figure in the same poses before the same background."""
    ((_, joints),) = scene.actors
    stranger = Figure.random(np.random.default_rng(SEED + len(clip)))
    return render_clip(replace(scene, actors=((stranger, joints),)))[0]


def untouched(clip: Clip, _scene: Scene, _points: np.ndarray) -> Clip:
    """The truth itself."""
    return clip


DAMAGES: Mapping[str, Callable[[Clip, Scene, np.ndarray], Clip]] = {
    "none": untouched,
    "blur": blur,
    "shift by 2 px": shift,
    "wrong limb": wrong_limb,
    "frozen frames": frozen,
    "colour drift": colour_drift,
    "seam every 10 frames": seams,
    "another identity": other_identity,
}


def load_detector(root: Path) -> PoseNetworks:
    """The bundle's own.

    Raises:
        WeightsError: It is not there.
    """
    files = (find_file(root, name) for name in (layout.DETECTOR, layout.WHOLE_BODY))
    return load_dwpose(*files, device="cpu", allow_cpu=True)


def measure(
    networks: PoseNetworks,
    damages: Sequence[str] = tuple(DAMAGES),
    metrics: Sequence[str] = SHOWN,
    *,
    frames: int = FRAMES,
) -> dict[str, dict[str, float]]:
    """Every metric under every damage, mean of the clips of `MOTIONS`."""
    found: dict[str, dict[str, float]] = {}
    scenes = [
        motion_scene(SEED + n, motion, frames=frames, height=HEIGHT, width=WIDTH)
        for n, motion in enumerate(MOTIONS)
    ]
    truths = [render_clip(scene) for scene in scenes]
    for name in damages:
        values = [
            _values(DAMAGES[name](clip, scene, points), clip, points, networks)
            for scene, (clip, points, _) in zip(scenes, truths, strict=True)
        ]
        found[name] = {m: float(np.mean([v[m] for v in values])) for m in metrics}
    return found


def _values(
    result: Clip, truth: Clip, points: Float[np.ndarray, "f 133 3"], networks: PoseNetworks
) -> dict[str, float]:
    pairs = [FramePair(a, b) for a, b in zip(result, truth, strict=True)]
    steps = np.arange(1, len(result))
    values = clip_values(scan_clip(pairs, ["correct"]), steps % SEAM_EVERY == 0)
    poses = [frame for _, frame in extract_poses(enumerate(result), networks)]
    place = (list(range(len(result))), *result.shape[1:3], 12.0)
    found = PoseTrack.from_frames(poses, *place)
    wanted = PoseTrack.from_frames([_wanted(p, result.shape[1:3]) for p in points], *place)
    pose = measure_pose(found, wanted, np.zeros(len(result), dtype=np.int64))
    return {**values, **pose.values}


def _wanted(points: Float[np.ndarray, "133 3"], size: Sequence[int]) -> Frame:
    scale = np.array([size[1], size[0]], dtype=np.float64)
    seen = (points[None, :, 2] == 2).astype(np.float64)
    keypoints, scores = to_openpose(points[None, :, :2].astype(np.float64) / scale, seen)
    return Frame(keypoints, scores, np.zeros((1, 4)), np.ones(1))


def as_markdown(found: Mapping[str, Mapping[str, float]]) -> str:
    """The table: damages down, metrics across."""
    metrics = list(next(iter(found.values())))
    rows = [[name, *(f"{values[m]:.4g}" for m in metrics)] for name, values in found.items()]
    return markdown_table(["damage", *metrics], rows)
