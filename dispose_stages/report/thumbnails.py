"""Small pictures for the report."""

from __future__ import annotations

import io

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dispose_stages.artifacts import Frame
from dispose_stages.geometry.colour_wheel import add_legend, flow_colours, flow_limit
from dispose_stages.geometry.drawing import Raster, draw_body, draw_pose
from dispose_stages.report.content import Picture

HEIGHT = 330
"""Of a thumbnail, pixels: 1.5 times as shown, for dense screens."""
MAX_WIDTH = 660
_QUALITY = 70
_DIM = 0.55
"""How much of a driving frame's brightness is left below its pose."""

Pixels = UInt8[np.ndarray, "h w 3"]


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """``(height, width)`` of the thumbnail of an image: as high as all, unless very wide."""
    scale = min(HEIGHT / height, MAX_WIDTH / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def picture(image: Pixels, text: str) -> Picture:
    """An image, scaled down and encoded."""
    height, width = thumbnail_size(*image.shape[:2])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=_QUALITY, method=4)
    return Picture(stream.getvalue(), "image/webp", width, height, text)


def pose_overlay(image: Pixels, frame: Frame) -> Pixels:
    """A driving frame, scaled down and darkened, with the pose of all its persons on top."""
    height, width = thumbnail_size(*image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    small = np.asarray(resized)
    fine = draw_pose(frame, height, width)
    # Limbs as the network sees them are hair lines at this size, so they are drawn once more.
    raster = Raster.plain(height, width)
    draw_body(raster, frame)
    pose = np.maximum(fine, raster.resized()).transpose(1, 2, 0)
    overlay: np.ndarray = np.maximum((small * _DIM).astype(np.uint8), pose)
    return overlay


def motion_picture(
    flow: Float[np.ndarray, "2 rows columns"], height: int, width: int, text: str
) -> Picture:
    """A dense field, whatever its grid, in the proportions of the target, with a legend.

    Args:
        flow: ``(dx, dy)`` in pixels of the target.
        height: Of the target, pixels.
        width: Of the target, pixels.
        text: Description.
    """
    limit = flow_limit(flow)
    shown_height, shown_width = thumbnail_size(height, width)
    colours = cv2.resize(
        flow_colours(flow, limit), (shown_width, shown_height), interpolation=cv2.INTER_LINEAR
    )
    return picture(add_legend(np.asarray(colours, dtype=np.uint8), limit), text)
