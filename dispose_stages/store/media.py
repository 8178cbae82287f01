"""Still images, and the facts about a media file that planning needs.

Media come from anywhere: sizes are checked before pixels are decoded, and every fault of a file is
a `UnitError` with a typed reason.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from dispose_stages.errors import Reason, UnitError

MAX_DIMENSION = 16_384
"""Default limit on height and width, pixels."""
MAX_PIXELS = 64_000_000
"""Default limit on height x width."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_DIGEST_BLOCK = 1 << 20
_DECODER_ERRORS = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class MediaProbe:
    """What is known of a media file before it is used.

    Attributes:
        kind: Image or video.
        height: Upright, as frames are handed out; pixels.
        width: Likewise.
        frames: Number of frames; 1 for an image.
        fps: Average frame rate; 0 for an image.
        rotation: Degrees clockwise by which the stored pixels are turned to be upright.
        digest: SHA-256 of the file.
        size_bytes: Of the file.
    """

    kind: Literal["image", "video"]
    height: int
    width: int
    frames: int
    fps: float
    rotation: int
    digest: str
    size_bytes: int


def check_file(path: Path) -> int:
    """Size of a regular, non-empty, readable file.

    Raises:
        UnitError: ``media_missing``, ``media_empty`` or ``media_unreadable``.
    """
    try:
        if not path.is_file():
            raise UnitError(Reason.MEDIA_MISSING, f"{path}: no such file")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: {error.strerror}") from error
    if size == 0:
        raise UnitError(Reason.MEDIA_EMPTY, f"{path}: the file has no content")
    return size


def check_size(path: Path, height: int, width: int, *, max_dimension: int, max_pixels: int) -> None:
    """Refuse pictures that would not fit in memory.

    Raises:
        UnitError: ``media_too_large``.
    """
    if max(height, width) > max_dimension or height * width > max_pixels:
        raise UnitError(
            Reason.MEDIA_TOO_LARGE,
            f"{path}: {width} x {height} pixels; allowed are {max_dimension} per side"
            f" and {max_pixels} in all",
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_DIGEST_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_image(
    path: Path, *, max_dimension: int = MAX_DIMENSION, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
    """An image as upright RGB.

    Orientation tags are applied, transparency is dropped (the colours below it stay), grey and
    palette images are expanded, CMYK is converted, of 16-bit greys the high byte is taken, and of
    an animation the first frame.

    Raises:
        UnitError: The file is missing, empty, damaged, too large or of an unsupported kind.
    """
    path = Path(path)
    check_file(path)
    try:
        with _opened(path) as image:
            check_size(
                path,
                image.height,
                image.width,
                max_dimension=max_dimension,
                max_pixels=max_pixels,
            )
            image.load()
            return np.array(_upright_rgb(path, image), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        raise UnitError(Reason.MEDIA_TOO_LARGE, f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        message = f"{path}: not one of {', '.join(_FORMATS)}, or damaged"
        raise UnitError(Reason.MEDIA_UNREADABLE, message) from error
    except _DECODER_ERRORS as error:
        raise UnitError(Reason.MEDIA_UNREADABLE, f"{path}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # Pillow warns of broken metadata and of large sizes; the former do not keep the pixels from
    # being used, the latter are checked against our own limits.
    with (
        warnings.catch_warnings(action="ignore"),
        Image.open(path, formats=_FORMATS) as image,
    ):
        yield image


def _upright_rgb(path: Path, image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        values = np.asarray(upright).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if upright.mode in {"I", "F"}:
        raise UnitError(
            Reason.MEDIA_UNSUPPORTED, f"{path}: pixels of mode {upright.mode} have no fixed range"
        )
    if upright.mode in {"P", "PA", "LA", "La", "RGBa"}:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")


def _is_image(path: Path) -> bool:
    try:
        with _opened(path) as image:
            return not getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        return True
    except _DECODER_ERRORS:
        return False


def probe_media(
    path: Path,
    *,
    kind: Literal["image", "video"] | None = None,
    max_dimension: int = MAX_DIMENSION,
    max_pixels: int = MAX_PIXELS,
) -> MediaProbe:
    """Look at a file closely enough to know that it can be used.

    An image is decoded whole; of a video the header is read and the first frame decoded, so a
    damage further on shows only when the video is read.

    Args:
        path: The file.
        kind: What it is expected to be; None finds out.
        max_dimension: Limit on height and width, pixels.
        max_pixels: Limit on height x width.

    Raises:
        UnitError: It cannot be used as that kind.
    """
    from dispose_stages.store.video import VideoReader

    path = Path(path)
    size_bytes = check_file(path)
    limits = {"max_dimension": max_dimension, "max_pixels": max_pixels}
    if kind == "image" or (kind is None and _is_image(path)):
        height, width, _ = read_image(path, **limits).shape
        return MediaProbe("image", height, width, 1, 0.0, 0, file_digest(path), size_bytes)
    with VideoReader(path, **limits) as video:
        return MediaProbe(
            "video",
            video.height,
            video.width,
            video.frame_count,
            video.fps,
            video.rotation,
            file_digest(path),
            size_bytes,
        )
