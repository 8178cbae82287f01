"""What the stages hand to one another: frozen dataclasses of NumPy arrays.

Axes: ``f`` frames, ``n`` detected persons over all frames, ``k`` keypoints, ``c`` channels,
``h w`` latent rows and columns. Points are ``(x, y)``, normalised by the size of the image they
were found in, unless a name ends in ``_pixels``. Flow is ``(dx, dy)`` in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int16, Int64

FACE_KEYPOINTS = slice(24, 92)
"""The 68 face points within the 134-point layout."""
LEFT_HAND_KEYPOINTS = slice(92, 113)
RIGHT_HAND_KEYPOINTS = slice(113, 134)
BODY_KEYPOINTS = slice(0, 18)
"""The 18 OpenPose body points within the 134-point layout (feet are 18-23)."""

VISIBLE_SCORE = 0.3
"""A body keypoint is visible when its score is greater than this (algorithm §2)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All persons found in one image, best detection first.

    Attributes:
        keypoints: Normalised ``(x, y)`` of 134 keypoints (18 body in OpenPose order, 6 feet, 68
            face, 2 x 21 hands) per person.
        scores: Confidence per keypoint.
        boxes: ``x1, y1, x2, y2`` in pixels of the source image.
        box_scores: Detection score; 0 for the whole-image box of an image without detection.
    """

    keypoints: Float64[np.ndarray, "n 134 2"]
    scores: Float64[np.ndarray, "n 134"]
    boxes: Float64[np.ndarray, "n 4"]
    box_scores: Float64[np.ndarray, "n"]

    @property
    def persons(self) -> int:
        """Number of persons."""
        return len(self.keypoints)


@dataclass(frozen=True, slots=True)
class PoseTrack:
    """Poses of all persons of an image or a video, before alignment (artifact of ``pose``).

    Persons of all frames are concatenated; those of frame ``f`` are
    ``person_offsets[f]:person_offsets[f + 1]``.

    Attributes:
        frame_indices: Index of each frame in the source video; ``[0]`` for an image.
        person_offsets: Where each frame's persons begin.
        keypoints: As in `Frame`.
        height: Of the frames the coordinates are normalised by, pixels.
        width: Of the frames the coordinates are normalised by, pixels.
        fps: Average frame rate of the source; 0 for an image.
    """

    frame_indices: Int64[np.ndarray, "f"]
    person_offsets: Int64[np.ndarray, "f_plus_1"]
    keypoints: Float64[np.ndarray, "n 134 2"]
    scores: Float64[np.ndarray, "n 134"]
    boxes: Float64[np.ndarray, "n 4"]
    box_scores: Float64[np.ndarray, "n"]
    height: int
    width: int
    fps: float

    def __len__(self) -> int:
        return len(self.frame_indices)

    def __getitem__(self, frame: int) -> Frame:
        index = range(len(self))[frame]
        persons = slice(int(self.person_offsets[index]), int(self.person_offsets[index + 1]))
        return Frame(
            self.keypoints[persons],
            self.scores[persons],
            self.boxes[persons],
            self.box_scores[persons],
        )

    @classmethod
    def from_frames(
        cls, frames: list[Frame], frame_indices: list[int], height: int, width: int, fps: float
    ) -> PoseTrack:
        """Concatenate the persons of all frames."""
        counts = [frame.persons for frame in frames]
        return cls(
            frame_indices=np.asarray(frame_indices, dtype=np.int64),
            person_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            keypoints=np.concatenate([f.keypoints for f in frames]).astype(np.float64),
            scores=np.concatenate([f.scores for f in frames]).astype(np.float64),
            boxes=np.concatenate([f.boxes for f in frames]).astype(np.float64),
            box_scores=np.concatenate([f.box_scores for f in frames]).astype(np.float64),
            height=height,
            width=width,
            fps=fps,
        )


@dataclass(frozen=True, slots=True)
class Retargeting:
    """What ``align: proportions`` measured of a pair, and whether it was followed.

    Attributes:
        used: Off: the bodies cannot be told from like ones, and the poses are the official fit's.
        limbs: Names of the limbs.
        ratio: Length of each limb, reference over driver, both in pixels.
        spread: Standard deviation of the ratio's logarithm.
        seen: Share of the driver's frames that show each limb.
        in_reference: Whether the reference shows it.
        body: The same ratio for the body as a whole.
        distinct: How far the limbs are from this one ratio, in units of their uncertainty; below
            about one the bodies cannot be told from alike ones.
        residual: Root mean square of what single segments say off their limb's ratio, logarithm.
        ground_slip: Mean distance of the lower ankle from the ground line while the driver stands,
            share of the reference's body size; nan where no ground is seen.
        displacement: Mean distance of the body's keypoints from the official fit, share of the
            target's height.
    """

    used: bool
    limbs: tuple[str, ...]
    ratio: Float64[np.ndarray, "l"]
    spread: Float64[np.ndarray, "l"]
    seen: Float64[np.ndarray, "l"]
    in_reference: Bool[np.ndarray, "l"]
    body: float
    distinct: float
    residual: float
    ground_slip: float
    displacement: float


@dataclass(frozen=True, slots=True)
class MotionField:
    """Everything that moves, for one pair (artifact of ``motion``).

    Frame 0 is the reference, frames 1.. are the driving frames, aligned to the reference body.

    Attributes:
        poses: Aligned poses of all persons, reference first; coordinates normalised by the target
            size.
        person: Row within each frame's persons of the one that drives; -1 where it was not found.
        cmp_flow: Dense field of conditional motion propagation at half of 384 pixels, reference
            to each driving frame, pixels of the 384-pixel frame, as fixed-point numbers
            (`dispose_stages.geometry.dense_field` converts).
        scale: ``(a_x, a_y)`` of the alignment.
        shift: ``(b_x, b_y)`` of the alignment.
        residual: Root mean square of the alignment's residual in y, fraction of the height.
        retargeting: Of ``align: proportions``; None with ``official``. Scale, shift and residual
            are those of the official fit in both cases.
    """

    poses: PoseTrack
    person: Int64[np.ndarray, "f"]
    cmp_flow: Int16[np.ndarray, "f_minus_1 2 192 192"]
    height: int
    width: int
    scale: tuple[float, float]
    shift: tuple[float, float]
    residual: float
    retargeting: Retargeting | None = None

    @property
    def tracks(self) -> Float64[np.ndarray, "f 18 2"]:
        """Body keypoints of the driving person in pixels of the target, nan where hidden."""
        points, visible = self.body_track()
        return np.where(visible[..., None], points * (self.width, self.height), np.nan)

    def body_track(
        self,
    ) -> tuple[Float64[np.ndarray, "f 18 2"], Bool[np.ndarray, "f 18"]]:
        """Body keypoints of the driving person and whether each is visible."""
        frames = len(self.poses)
        points = np.zeros((frames, 18, 2))
        visible = np.zeros((frames, 18), dtype=bool)
        for index in range(frames):
            row = int(self.person[index])
            if row < 0:
                continue
            frame = self.poses[index]
            points[index] = frame.keypoints[row, BODY_KEYPOINTS]
            visible[index] = frame.scores[row, BODY_KEYPOINTS] > VISIBLE_SCORE
        return points, visible


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Diffusion features of the reference at its keypoints (artifact of ``correspondence``).

    Attributes:
        embedding: Feature per body keypoint, zero where it is invisible.
        feature_map: The whole map, 1/16 of the target size; kept on request only.
    """

    embedding: Float32[np.ndarray, "18 c"]
    feature_map: Float32[np.ndarray, "c h w"] | None = None


@dataclass(frozen=True, slots=True)
class Latents:
    """Denoised latents of a clip (artifact of ``sample``).

    Attributes:
        latents: In the VAE's scaled space, frame 0 (the reference) included.
    """

    latents: Float[np.ndarray, "f 4 h w"]


@dataclass(frozen=True, slots=True)
class Scores:
    """One group of metrics of one pair (artifact of ``score``).

    Attributes:
        protocol: Everything the numbers depend on, canonical JSON (docs/data-format.md).
        values: Of the whole clip; nan where there is none.
        missing: Why; empty where there is a value.
        frame_values: Of every frame; nan where there is none.
        features: For metrics of sets, one row per frame or window.
        poses: Of all persons found in the result, where these were looked for.
    """

    protocol: str
    metrics: tuple[str, ...]
    values: tuple[float, ...]
    missing: tuple[str, ...]
    frame_metrics: tuple[str, ...]
    frame_values: Float64[np.ndarray, "k f"]
    features: Float32[np.ndarray, "n d"] | None = None
    poses: PoseTrack | None = None
