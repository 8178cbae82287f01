"""The part of the configuration that is about the output files, and what a rate may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dispose_stages.config_section import Section

Rate = Annotated[float, Field(gt=0, le=240)] | Literal["driver"]
Interpolate = Literal["none", "minterpolate"]


class Encoding(Section):
    """The output files."""

    crf: int = Field(default=18, ge=0, le=51)
    """x264 quality; lower is better."""
    preset: Literal[
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
    ] = "medium"
    """x264 speed."""
    pixel_format: Literal["yuv420p", "yuv444p"] = "yuv420p"
    """`yuv420p` plays everywhere."""
    container: Literal["mp4", "mkv"] = "mp4"
    """File format."""
    png_frames: bool = False
    """Also write every frame as PNG."""
    copy_audio: bool = False
    """Copy the driver's audio, cut to the output's length."""
