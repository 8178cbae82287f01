"""A unit of ``mux``: a pair's video, under the pair's own name."""

from __future__ import annotations

from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Compat, Parameters
from dispose_stages.config_encoding import Encoding, Interpolate, Rate
from dispose_stages.config_sampling import Precision

REVISION = 3
"""Raised when the file this stage makes changes."""


class MuxParams(Params):
    """What decides the file."""

    pair_id: str
    precision: Precision
    fps: Rate
    decode_chunk_size: int
    seed: int
    compat: Compat
    sample_stride: int
    start_frame: int
    crf: int
    preset: str
    pixel_format: Literal["yuv420p", "yuv444p"]
    container: Literal["mp4", "mkv"]
    png_frames: bool
    copy_audio: bool
    interpolate: Interpolate = "none"
    decode_context: int = 0

    @property
    def paced(self) -> bool:
        """Whether frames are made at the driver's pace."""
        return self.fps == "driver" or self.interpolate != "none"

    @property
    def encoding(self) -> Encoding:
        """How frames become a file."""
        return Encoding.model_validate(self.model_dump(include=set(Encoding.model_fields)))


def work(parameters: Parameters, frames: float, _role: str) -> float:
    """Frames that are decoded, and their size."""
    again = 2 * parameters.decode_context / parameters.decode_chunk_size
    return (1 + again) * frames * parameters.resolution**2


def plan(row: RowPlan) -> None:
    """The video of a row."""
    config, pair_id = row.config, row.row.pair_id
    # Rows that share all else share the object; their names are added to its values.
    params = MuxParams.of(row.row.parameters, config.encoding, config.sampling, pair_id="")
    with_sound = config.encoding.copy_audio
    with_driver = with_sound or params.paced
    row.add(
        "mux",
        params,
        label=pair_id,
        near=row.units["sample"].route,
        sources={"video": row.row.driving_video} if with_sound else {},
        reads={"sample": "sample"} | ({"media": "ingest_video"} if with_driver else {}),
        name=pair_id,
    )
