"""Skeletons over frames, for people to look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from dispose_stages.artifacts import Frame, PoseTrack
from dispose_stages.geometry.drawing import draw_skeletons
from dispose_stages.geometry.tracking import follow_persons

Image = UInt8[np.ndarray, "h w 3"]
BOX_COLOUR = (255, 255, 255)
_MAX_HEIGHT = 512
"""Of pictures of a video's frames, pixels."""
PERSON_COLOURS = (
    *((255, 255, 255), (255, 176, 0), (100, 220, 255), (255, 90, 160), (130, 230, 90)),
    *((180, 140, 255), (255, 240, 110), (90, 160, 255)),
)
"""Of boxes, by who is in them; told apart also where red and green are not."""


def _shrunk(image: Image, max_height: int | None) -> Image:
    if max_height is None or image.shape[0] <= max_height:
        return image
    width = max(1, round(image.shape[1] * max_height / image.shape[0]))
    return np.asarray(
        cv2.resize(image, (width, max_height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def overlay_pose(
    image: Image,
    frame: Frame,
    *,
    max_height: int | None = None,
    persons: Sequence[int] | None = None,
) -> Image:
    """Skeleton, hands and face, opaque, over the dimmed frame, with detected boxes.

    What is drawn is what the networks see, but on the picture itself and not at a fixed scale, so
    that lines stay wide enough for the eye.

    Args:
        image: RGB frame that the coordinates are normalised by.
        max_height: A higher picture is shrunk first; None never.
        persons: Who each of the frame's rows is, for the colours of the boxes.
    """
    shown = _shrunk(image, max_height)
    height, width = shown.shape[:2]
    skeleton = draw_skeletons(frame, height, width)
    drawn = skeleton.any(axis=-1, keepdims=True)
    out = np.ascontiguousarray(np.where(drawn, skeleton, shown // 2))
    scale = np.tile([width / image.shape[1], height / image.shape[0]], 2)
    for row, (box, score) in enumerate(zip(frame.boxes, frame.box_scores, strict=True)):
        if score > 0:
            corners = np.clip(box * scale, 0, (width, height, width, height)).astype(int).tolist()
            colour = PERSON_COLOURS[persons[row] % len(PERSON_COLOURS)] if persons else BOX_COLOUR
            cv2.rectangle(out, corners[:2], corners[2:], colour, 2 if persons else 1)
    return out


def persons_of_rows(track: PoseTrack) -> list[list[int]]:
    """Who each row of each frame is: numbers in order of appearance; 0 for nobody, too."""
    frames = [track[index] for index in range(len(track))]
    who = [[0] * frame.persons for frame in frames]
    for person, rows in enumerate(follow_persons(frames, track.height, track.width)):
        for position, row in enumerate(rows.tolist()):
            if row >= 0:
                who[position][row] = person
    return who


def preview_frames(frames: Iterable[tuple[int, Image]], track: PoseTrack) -> Iterator[Image]:
    """Overlays of the frames a track was made from, as a stream for an encoder or a sheet.

    Where a frame shows several persons, boxes have the colours of who is followed through them.

    Args:
        frames: Index in the source and RGB frame; indices that the track lacks are passed over.
    """
    positions = {int(index): position for position, index in enumerate(track.frame_indices)}
    several = bool((np.diff(track.person_offsets) > 1).any())
    who = persons_of_rows(track) if several else [None] * len(track)
    for index, image in frames:
        if (at := positions.get(index)) is not None:
            yield overlay_pose(image, track[at], max_height=_MAX_HEIGHT, persons=who[at])


def sheet_positions(frames: int, tiles: int) -> list[int]:
    """Evenly spread positions of at most `tiles` frames, first and last included."""
    count = min(frames, tiles)
    return [round(value) for value in np.linspace(0, frames - 1, count)] if count else []


def contact_sheet(
    images: Sequence[Image], *, columns: int | None = None, tile_height: int = 384
) -> Image:
    """Images side by side, row by row, each fitted into one tile of the first one's aspect.

    Args:
        images: RGB images of any sizes, at least one.
        columns: Tiles per row; about as many as rows if None.

    Returns:
        RGB image; black where nothing is.
    """
    height, width = images[0].shape[:2]
    tile_width = max(1, round(tile_height * width / height))
    across = columns or math.ceil(math.sqrt(len(images)))
    down = math.ceil(len(images) / across)
    sheet = np.zeros((down * tile_height, across * tile_width, 3), dtype=np.uint8)
    for position, image in enumerate(images):
        scale = min(tile_height / image.shape[0], tile_width / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        top, left = position // across * tile_height, position % across * tile_width
        sheet[top : top + size[1], left : left + size[0]] = tile
    return sheet
