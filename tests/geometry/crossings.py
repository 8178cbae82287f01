"""Figures of the procedural world that walk past one another, as a detector would see them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.skeleton import to_openpose
from dispose_stages.training.world.body import BodyShape, pose_joints
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.projection import project

HEIGHT, WIDTH = 480, 854
FRAMES, FPS = 48, 12.0
_SUPPRESSED = 0.45
"""Overlap from which a detector keeps the better of two boxes."""
_NOISE = 0.006


@dataclass(frozen=True, slots=True)
class Crossing:
    """A clip.

    Attributes:
        frames: What a detector gives, best first.
        who: Per frame, which figure each row is.
        times: How often two figures pass one another.
    """

    frames: list[Frame]
    who: list[Int64[np.ndarray, "n"]]
    times: int


def crossing(seed: int, figures: int) -> Crossing:
    """Figures that enter, cross, leave and come back; depends on the arguments only."""
    rng = np.random.default_rng((seed, figures, 83))
    walks = [_walk(rng, number) for number in range(figures)]
    middles = np.stack([points[:, [11, 12], 0].mean(axis=1) for points, _ in walks])
    frames, who = [], []
    for number in range(FRAMES):
        frame, order = detected_frame([(points[number], size) for points, size in walks], rng)
        frames.append(frame)
        who.append(order)
    return Crossing(frames, who, _passings(middles))


def _passings(middles: np.ndarray) -> int:
    inside = (middles > 0) & (middles < WIDTH)
    times = 0
    for first in range(len(middles)):
        for second in range(first):
            side = np.sign(middles[first] - middles[second])
            both = inside[first] & inside[second]
            times += int(((side[1:] != side[:-1]) & both[1:] & both[:-1]).sum())
    return times


def _walk(rng: np.random.Generator, number: int) -> tuple[np.ndarray, float]:
    """Keypoints in pixels; every second figure goes the other way."""
    shape = BodyShape.random(rng)
    times = np.arange(FRAMES) / FPS
    pose = MOTIONS["walk"](times, rng)
    direction = 1 - 2 * (number % 2)
    late = 0.6 * (number // 2)  # the third walks behind the first
    start, end = rng.uniform(-0.15, 0.15) - late, rng.uniform(0.85, 1.15) - late
    along = np.linspace(start, end, FRAMES)
    if rng.uniform() < 0.3:  # goes to the end and comes back
        along = start + (end - start) * (1 - np.abs(np.linspace(-1, 1, FRAMES)))
    column = WIDTH * (along if direction > 0 else 1 - along)
    scale = HEIGHT * rng.uniform(0.6, 0.85)
    heading = direction * np.sign(np.gradient(along)) * rng.uniform(0.8, 1.4)
    pose = replace(pose, yaw=heading, shift=np.zeros(FRAMES))
    ground = HEIGHT * rng.uniform(0.88, 0.98)
    joints = project(pose_joints(shape, pose), x=0.0, ground=ground, scale=scale, tilt=0.15)
    points = joints.keypoints.copy()
    points[..., 0] += column[:, None]
    return points, scale


def overlaps(
    box: Float64[np.ndarray, "4"], boxes: Float64[np.ndarray, "n 4"]
) -> Float64[np.ndarray, "n"]:
    """Intersection over union of one box with each of `boxes`."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(shared / ((box[2:] - box[:2]).prod() + areas - shared))


def detected_frame(
    figures: list[tuple[np.ndarray, float]], rng: np.random.Generator
) -> tuple[Frame, Int64[np.ndarray, "n"]]:
    """What a detector gives of figures (keypoints, pixels per body height), and which each is."""
    found = []
    for index, (points, scale) in enumerate(figures):
        noisy = points + _NOISE * scale * rng.standard_normal(points.shape)
        inside = ((noisy >= 0) & (noisy < (WIDTH, HEIGHT))).all(axis=1)
        if inside[:17].sum() < 6 or rng.uniform() < 0.02:
            continue
        shown = noisy[:17][inside[:17]]
        margin = 0.04 * scale
        box = np.clip(
            np.concatenate([shown.min(axis=0) - margin, shown.max(axis=0) + margin]),
            0,
            (WIDTH, HEIGHT, WIDTH, HEIGHT),
        )
        # The nearer one, which is the larger, is found better.
        found.append((0.5 * scale / HEIGHT + rng.uniform(0.2, 0.4), index, noisy, inside, box))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[float, int, np.ndarray, np.ndarray, np.ndarray]] = []
    for item in found:
        others = np.stack([k[4] for k in kept]) if kept else np.zeros((0, 4))
        if not (overlaps(item[4], others) > _SUPPRESSED).any():
            kept.append(item)
    if not kept:
        blank = np.zeros((1, 134, 2)), np.full((1, 134), 0.1)
        whole = np.array([[0.0, 0.0, WIDTH, HEIGHT]])
        return Frame(*blank, whole, np.zeros(1)), np.array([-1])
    points = np.stack([item[2] for item in kept]) / (WIDTH, HEIGHT)
    mapped, scores = to_openpose(points, np.stack([np.where(i[3], 0.9, 0.1) for i in kept]))
    boxes, certain = np.stack([item[4] for item in kept]), np.array([item[0] for item in kept])
    return Frame(mapped, scores, boxes, certain), np.array([item[1] for item in kept])


def switches(clip: Crossing, rows: Int64[np.ndarray, "f"], *, side: bool = False) -> int:
    """How often a track goes on as another figure.

    Args:
        clip: Whose figures.
        rows: Of the track.
        side: Only where one of both is cut off by the picture's side.
    """
    seen = [(f, row) for f, row in enumerate(rows.tolist()) if row >= 0]
    changes = [
        (before, after)
        for before, after in itertools.pairwise(seen)
        if clip.who[before[0]][before[1]] != clip.who[after[0]][after[1]]
    ]
    boxes = [[clip.frames[f].boxes[row] for f, row in change] for change in changes]
    cut = [any(box[0] <= 0 or box[2] >= WIDTH for box in pair) for pair in boxes]
    return sum(cut) if side else len(changes)


def all_switches(clip: Crossing, tracks: Sequence[Int64[np.ndarray, "f"]]) -> int:
    """How often a figure goes on in another track than the one it was in, everybody counted."""
    last: dict[int, int] = {}
    count = 0
    for frame, figures in enumerate(clip.who):
        rows = [int(track[frame]) for track in tracks]
        for row, figure in enumerate(figures.tolist()):
            if figure >= 0:
                track = rows.index(row)
                count += last.setdefault(figure, track) != track
                last[figure] = track
    return count
