"""The ffmpeg program: where it is."""

from __future__ import annotations

import shutil
from functools import cache

from dispose_stages.errors import DeviceError


@cache
def ffmpeg_binary() -> str:
    """Path of ffmpeg: the one on the search path, else the one that imageio-ffmpeg brings.

    Raises:
        DeviceError: There is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DeviceError(
            "no ffmpeg program: install ffmpeg, or `pip install imageio-ffmpeg`"
        ) from error
