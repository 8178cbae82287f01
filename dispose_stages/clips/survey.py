"""Looks through a video: where its scenes begin, and who is in them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dispose_stages.artifacts import Frame
from dispose_stages.clips.pieces import Piece, Verdict, find_pieces, scene_samples
from dispose_stages.config import Compute
from dispose_stages.geometry.frames import frames_by_time, sampled_frames
from dispose_stages.geometry.persons import is_found
from dispose_stages.models.whole_body.extraction import PoseNetworks, extract_poses
from dispose_stages.pose.preview import overlay_pose
from dispose_stages.store.media import MediaProbe, probe_media
from dispose_stages.store.video import VideoReader

_THUMB_HEIGHT = 144
_SHOWN = 4
"""Frames of a piece that are pictured."""
_JPEG_QUALITY = 70

Picture = UInt8[np.ndarray, "h w 3"]


def survey_video(
    path: Path,
    networks: PoseNetworks,
    compute: Compute,
    stride: int,
    *,
    min_seconds: float,
    min_motion: float,
) -> list[Piece]:
    """Decode a video, find its scenes, and look at a frame of every half second.

    Args:
        stride: With which the rows will be read.
        min_motion: Of a clip, as in `Piece`.

    Returns:
        All of the video, in order.

    Raises:
        UnitError: The video cannot be used.
    """
    probe = probe_media(path, kind="video", compute=compute)
    usable = probe.first_missing if probe.missing_frames else probe.frames
    scenes = scene_samples(usable, probe.scene_cuts, probe.fps)
    small: dict[int, Picture] = {}
    with VideoReader(path, compute=compute) as video:
        wanted = [index for scene in scenes for index in scene]
        frames = _kept_small(video.frames(wanted), small)
        with closing(extract_poses(frames, networks)) as found:
            poses = dict(found)
        size = video.height, video.width
        pieces = [
            piece if piece.verdict is not Verdict.CLIP else _counted(piece, probe, video, stride)
            for scene in scenes
            for piece in find_pieces(
                [(index, poses[index]) for index in scene],
                size,
                probe.fps,
                min_seconds=min_seconds,
                min_motion=min_motion,
            )
        ]
    return [
        replace(
            piece,
            pictures={i: _jpeg(small[i], poses[i], size) for i in _shown_frames(piece, wanted)},
        )
        for piece in pieces
    ]


def _shown_frames(piece: Piece, frames: Sequence[int]) -> list[int]:
    """Those of a piece that are pictured, of the frames that were looked at."""
    inside = [index for index in frames if piece.first <= index <= piece.last]
    places = np.linspace(0, len(inside) - 1, min(_SHOWN, len(inside)))
    return [inside[round(place)] for place in places]


def _kept_small(
    frames: Iterator[tuple[int, Picture]], small: dict[int, Picture]
) -> Iterator[tuple[int, Picture]]:
    """The frames, of which small copies are kept."""
    for index, image in frames:
        width = max(1, round(image.shape[1] * _THUMB_HEIGHT / image.shape[0]))
        shrunk = cv2.resize(image, (width, _THUMB_HEIGHT), interpolation=cv2.INTER_AREA)
        small[index] = np.asarray(shrunk, dtype=np.uint8)
        yield index, image


def _counted(piece: Piece, probe: MediaProbe, video: VideoReader, stride: int) -> Piece:
    """A clip with the number of frames that are read of it, none of them beyond it."""
    end = piece.last + 1
    if probe.variable_rate:
        read = frames_by_time(video.times, probe.fps, stride, piece.first)
        return replace(piece, count=sum(index < end for index in read))
    return replace(piece, count=len(sampled_frames(end, probe.fps, stride, piece.first)))


def _jpeg(image: Picture, pose: Frame, size: tuple[int, int]) -> bytes:
    if any(is_found(pose, person) for person in range(pose.persons)):
        scale = np.tile([image.shape[1] / size[1], image.shape[0] / size[0]], 2)
        image = overlay_pose(image, replace(pose, boxes=pose.boxes * scale))
    output = io.BytesIO()
    Image.fromarray(image).save(output, "JPEG", quality=_JPEG_QUALITY)
    return output.getvalue()
