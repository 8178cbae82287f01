"""Scenes: figures that move before a background, with everything about them known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from dispose_stages.training.world import keypoints
from dispose_stages.training.world.appearance import random_background
from dispose_stages.training.world.body import BodyPose, pose_joints
from dispose_stages.training.world.figure import Figure, figure_layers
from dispose_stages.training.world.flow import layer_flow
from dispose_stages.training.world.layer import Layer
from dispose_stages.training.world.motion import MOTIONS
from dispose_stages.training.world.projection import ProjectedJoints, project

OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2
"""Flags of a keypoint, as in COCO."""


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """One image and the truth about it.

    Attributes:
        keypoints: ``x, y, flag`` in pixels, COCO-WholeBody order; flag as in COCO.
        boxes: ``x1, y1, x2, y2`` of what each figure covers inside the image.
    """

    image: UInt8[np.ndarray, "h w 3"]
    keypoints: Float[np.ndarray, "n 133 3"]
    boxes: Float[np.ndarray, "n 4"]


Actor = tuple[Figure, ProjectedJoints]
"""A figure and where its joints are in every frame."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Actors, farthest first, before a background that stands still."""

    actors: tuple[Actor, ...]
    background: UInt8[np.ndarray, "h w 3"]

    def __len__(self) -> int:
        return len(self.actors[0][1].keypoints) if self.actors else 1

    def render(self, frame: int) -> RenderedFrame:
        """Paint one frame."""
        image = self.background.copy()
        labels, layers = self._labels(frame)
        for layer in layers:
            layer.paint(image)
        boxes = [_box(actor, frame, image.shape[:2]) for actor in self.actors]
        return RenderedFrame(
            image,
            self._flagged(frame, labels, layers),
            np.stack(boxes) if boxes else np.zeros((0, 4)),
        )

    def keypoints(self, frame: int) -> Float[np.ndarray, "n 133 3"]:
        """Those of `render`, without painting."""
        return self._flagged(frame, *self._labels(frame))

    def _flagged(
        self, frame: int, labels: UInt8[np.ndarray, "h w"], layers: list[Layer]
    ) -> Float[np.ndarray, "n 133 3"]:
        points = [
            _flag_keypoints(actor, frame, labels, layers, index)
            for index, actor in enumerate(self.actors)
        ]
        return np.stack(points) if points else np.zeros((0, keypoints.COUNT, 3))

    def flow(self, first: int, second: int) -> Float32[np.ndarray, "h w 2"]:
        """Displacement of every pixel of frame `first` on the way to frame `second`, pixels.

        It follows the layer that is seen at the pixel, also where the second frame hides it.
        """
        labels, layers = self._labels(first)
        _, moved = self._labels(second)
        return layer_flow(labels, layers, {layer.name: layer for layer in moved})

    def covered(self, frame: int) -> dict[str, Bool[np.ndarray, "h w"]]:
        """What every layer covers, by its name from back to front, also where others hide it."""
        masks = {}
        for layer in self._labels(frame)[1]:
            mask = np.zeros(self.background.shape[:2], dtype=np.uint8)
            layer.stamp(mask, 1)
            masks[layer.name] = mask > 0
        return masks

    def _labels(self, frame: int) -> tuple[UInt8[np.ndarray, "h w"], list[Layer]]:
        """Which layer each pixel shows (1 is the first), and the layers from back to front."""
        layers: list[Layer] = []
        for index, actor in enumerate(self.actors):
            painted = figure_layers(*actor, frame)
            for layer in painted:
                layer.name = f"{index}/{layer.name}"
            layers += sorted(painted, key=lambda layer: layer.depth)
        labels = np.zeros(self.background.shape[:2], dtype=np.uint8)
        for number, layer in enumerate(layers, start=1):
            layer.stamp(labels, number)
        return labels, layers


def random_scene(
    seed: int,
    *,
    height: int,
    width: int,
    frames: int,
    fps: float = 24.0,
    motion: str | None = None,
    actors: int = 1,
    whole: bool = True,
) -> Scene:
    """A scene that depends on the arguments only.

    Args:
        seed: Decides persons, clothes, background, camera and movement.
        motion: One of `dispose_stages.training.world.motion.MOTIONS`; any of them if not given.
        whole: Keep the figures inside the image; else they may be cut off.
    """
    rng = np.random.default_rng(seed)
    background = random_background(height, width, rng)
    times = np.arange(frames) / fps
    cast = []
    for _ in range(actors):
        figure = Figure.random(rng)
        name = motion or str(rng.choice(sorted(MOTIONS)))
        pose = MOTIONS[name](times, rng)
        cast.append(place_actor(figure, pose, rng, height, width, whole=whole))
    cast.sort(key=lambda actor: actor[1].scale)
    return Scene(tuple(cast), background)


def place_actor(
    figure: Figure,
    pose: BodyPose,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    whole: bool = True,
    smallest: float = 0.75,
) -> Actor:
    """Put a figure into an image, as large as its movement allows or somewhat smaller.

    Args:
        rng: Decides size, place and the camera's tilt.
        whole: Keep it inside the image in every frame; else it may be cut off.
        smallest: Least size of a whole figure, as a share of the largest that fits.
    """
    joints = pose_joints(figure.shape, pose)
    spread = float(np.abs(joints.keypoints[:, :, 0]).max()) + 0.04
    top = float(joints.keypoints[:, :, 1].max()) + 0.06
    fit = min(0.95 * height / (top + 0.05), 0.5 * 0.97 * width / spread)
    scale = fit * (rng.uniform(smallest, 1.0) if whole else rng.uniform(0.45, 1.5))
    slack_x = max(0.0, 0.5 * width - spread * scale)
    x = 0.5 * width + rng.uniform(-1, 1) * (slack_x if whole else slack_x + 0.15 * width)
    # The nearer foot reaches below the ground line, because the camera looks down.
    floor = 0.985 * height - 0.05 * scale
    slack_y = max(0.0, floor - (top + 0.02) * scale)
    ground = floor - rng.uniform(0, 1) * slack_y
    if not whole:
        ground += rng.uniform(-0.1, 0.25) * height
    tilt = float(rng.uniform(0.08, 0.25))
    seen = project(joints, x=float(x), ground=float(ground), scale=float(scale), tilt=tilt)
    return figure, seen


def _box(actor: Actor, frame: int, size: tuple[int, ...]) -> Float[np.ndarray, "4"]:
    layers = figure_layers(*actor, frame)
    points = np.concatenate([stroke[0] for layer in layers for stroke in layer.strokes])
    limit = [size[1], size[0]]
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


_OWN_LAYERS = (
    [{"head"}] * 5
    + [{f"{side}_upper_arm", "torso", "hair"} for side in ("left", "right")]
    + [{f"{side}_upper_arm", f"{side}_forearm"} for side in ("left", "right")]
    + [{f"{side}_hand", f"{side}_forearm"} for side in ("left", "right")]
    + [{"left_thigh", "right_thigh", "torso", "skirt"}] * 2
    + [{f"{side}_thigh", f"{side}_shin", "skirt"} for side in ("left", "right")]
    + [{f"{side}_shin", f"{side}_foot"} for side in ("left", "right")]
    + [{f"{side}_shin", f"{side}_foot"} for side in ("left", "right") for _ in range(3)]
    + [{"head"}] * 68
    + [{f"{side}_hand", f"{side}_forearm"} for side in ("left", "right") for _ in range(21)]
)


def _flag_keypoints(
    actor: Actor,
    frame: int,
    labels: UInt8[np.ndarray, "h w"],
    layers: list[Layer],
    index: int,
) -> Float[np.ndarray, "133 3"]:
    points = actor[1].keypoints[frame]
    height, width = labels.shape
    column, row = np.floor(points).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    shown = labels[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    names = ["", *(layer.name for layer in layers)]
    own = np.array(
        [
            label == 0 or names[label] in {f"{index}/{name}" for name in _OWN_LAYERS[keypoint]}
            for keypoint, label in enumerate(shown)
        ]
    )
    own &= ~_behind_head(actor, frame)
    flags = np.where(inside, np.where(own, VISIBLE, OCCLUDED), OUTSIDE)
    return np.column_stack([points, flags])


def _behind_head(actor: Actor, frame: int) -> np.ndarray:
    """Which face keypoints are on the far side of the head; (133,) booleans."""
    figure, joints = actor
    behind = joints.depths[frame] < joints.head_depth[frame] - 0.3 * figure.shape.head_width
    on_head = np.zeros(keypoints.COUNT, dtype=bool)
    on_head[:5] = on_head[keypoints.FACE] = True
    return np.asarray(behind & on_head)
