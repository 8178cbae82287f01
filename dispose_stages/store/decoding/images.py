"""Still images to upright RGB."""

from __future__ import annotations

import errno
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from dispose_stages.errors import Reason
from dispose_stages.store.decoding.faults import MediaFaultError
from dispose_stages.store.decoding.limits import SizeLimits

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_DECODER_ERRORS = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def decode_image(path: str, limits: SizeLimits) -> UInt8[np.ndarray, "h w 3"]:
    """An image as upright RGB; see `dispose_stages.store.media.read_image`.

    Raises:
        MediaFaultError: It is damaged, too large or of an unsupported kind.
    """
    try:
        with _opened(path) as image:
            limits.check(image.height, image.width)
            image.load()
            return np.array(_upright_rgb(image), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        message = "more pixels than any image here may have"
        raise MediaFaultError(Reason.MEDIA_TOO_LARGE, message, error) from error
    except UnidentifiedImageError as error:
        message = f"not one of {', '.join(_FORMATS)}, or damaged"
        raise MediaFaultError(Reason.MEDIA_UNREADABLE, message, error) from error
    except _DECODER_ERRORS as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise
        message = "the image is damaged or cut off"
        raise MediaFaultError(Reason.MEDIA_UNREADABLE, message, error) from error


def is_still(path: str) -> bool:
    """Whether the file is an image that does not move."""
    try:
        with _opened(path) as image:
            return not getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        return True
    except _DECODER_ERRORS:
        return False


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    # Pillow warns of broken metadata and of large sizes; the former do not keep the pixels from
    # being used, the latter are checked against our own limits.
    # Given a name it maps some files, and takes the rows of a TIFF that lies on its side for longer
    # than they are; given a stream it reads them.
    with (
        warnings.catch_warnings(action="ignore"),
        Path(path).open("rb") as stream,
        Image.open(stream, formats=_FORMATS) as image,
    ):
        yield image


def _upright_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        values = np.asarray(upright).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if upright.mode in {"I", "F"}:
        message = f"pixels of mode {upright.mode} have no fixed range"
        raise MediaFaultError(Reason.MEDIA_UNSUPPORTED, message)
    if upright.mode in {"P", "PA", "LA", "La", "RGBa"}:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")
