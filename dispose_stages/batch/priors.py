"""What units are known to cost before they are computed, recorded in the run.

Learned from statistics and probes of earlier runs (`dispose_stages.batch.learning`) and written to
``plan/priors.json``, so that the plan is a pure function of manifest, configuration and this file.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from dispose_stages.batch.manifest import Row
from dispose_stages.batch.unit import stage_of
from dispose_stages.config import Parameters
from dispose_stages.errors import StoreError
from dispose_stages.geometry.frames import sampled_frames
from dispose_stages.records import read_record, record_text

_FORM = ("dispose-priors", 1)
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Priors:
    """What is known.

    Attributes:
        seconds: Stage to seconds per unit of its work, as its ``unit.py`` counts it.
        gpu: The kind of GPU on which they were measured; ``cpu`` where it was none.
        drivers: Driving video to its frames and their rate.
        frames: That are read of a driver of which nothing is known.
        pilot: Whether the plan that they were learned for holds rows back.
    """

    seconds: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    gpu: str = ""
    drivers: Mapping[str, tuple[int, float]] = field(default_factory=lambda: _NOTHING)
    frames: float = 1.0
    pilot: bool = False

    def cost(self, row: Row, role: str) -> float | None:
        """Seconds of a unit of a row, by its role; None where its stage was never measured."""
        stage = stage_of(role)
        if stage not in self.seconds:
            return None
        return self.seconds[stage] * work(row, role, self.drivers, self.frames)

    def to_json(self) -> str:
        """The file's text."""
        return record_text(*_FORM, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Priors | None:
        """Those of a run; None if none are recorded, or what is recorded cannot be used."""
        try:
            return read_record(path, *_FORM, cls._build)
        except StoreError:
            return None

    @classmethod
    def _build(cls, content: dict[str, Any]) -> Priors:
        seconds = {str(stage): float(value) for stage, value in content["seconds"].items()}
        drivers = {p: (int(n), float(rate)) for p, (n, rate) in content["drivers"].items()}
        frames = float(content["frames"])
        if not all(0 < value < math.inf for value in (frames, *seconds.values())):
            raise ValueError("a number is not positive")
        return cls(seconds, str(content["gpu"]), drivers, frames, bool(content["pilot"]))


def work(row: Row, role: str, drivers: Mapping[str, tuple[int, float]], otherwise: float) -> float:
    """Work of a unit of a row, as its stage counts it.

    Args:
        role: The unit's in the row.
        drivers: Driving video to frames and their rate.
        otherwise: Frames that are read of all others.
    """
    driver = drivers.get(row.driving_video)
    frames = float(frames_read(row.parameters, *driver)) if driver else otherwise
    return _work_of(stage_of(role))(row.parameters, frames, role)


@lru_cache
def _work_of(stage: str) -> Callable[[Parameters, float, str], float]:
    code = importlib.import_module(f"dispose_stages.{stage}.unit")
    return cast("Callable[[Parameters, float, str], float]", code.work)


def frames_read(parameters: Parameters, frames: int, fps: float) -> int:
    """How many frames of a driver are read, one at least."""
    stride, start, most = parameters.sample_stride, parameters.start_frame, parameters.max_frames
    return max(1, len(sampled_frames(frames, fps, stride, start, most)))
