"""What a group of metrics found: values, and a typed reason wherever there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Float64

from dispose_stages.artifacts import PoseTrack, Scores
from dispose_stages.missing import Missing


@dataclass(frozen=True, slots=True)
class Measurement:
    """One group of metrics of one pair.

    Attributes:
        values: By metric, for the whole clip; nan where there is none.
        missing: Why, by metric.
        frames: By metric, for every frame; nan where there is none.
        features: For metrics of sets, one row per frame or window.
        poses: Found in the result.
    """

    values: Mapping[str, float]
    missing: Mapping[str, Missing] = field(default_factory=dict)
    frames: Mapping[str, Float64[np.ndarray, "f"]] = field(default_factory=dict)
    features: Float32[np.ndarray, "n d"] | None = None
    poses: PoseTrack | None = None

    def joined(self, other: Measurement) -> Measurement:
        """Both, of the same pair."""
        return Measurement(
            {**self.values, **other.values},
            {**self.missing, **other.missing},
            {**self.frames, **other.frames},
        )

    def artifact(self, protocol: str) -> Scores:
        """As it is stored.

        Args:
            protocol: What the numbers depend on, canonical JSON.
        """
        names = sorted({*self.values, *self.missing})
        return Scores(
            protocol=protocol,
            metrics=tuple(names),
            values=tuple(float(self.values.get(name, math.nan)) for name in names),
            missing=tuple(self._reason(name) for name in names),
            frame_metrics=tuple(sorted(self.frames)),
            frame_values=_table([self.frames[name] for name in sorted(self.frames)]),
            features=self.features,
            poses=self.poses,
        )

    def _reason(self, name: str) -> str:
        if name in self.missing:
            return self.missing[name].value
        return "" if math.isfinite(self.values[name]) else Missing.NOT_FINITE.value


def _table(rows: list[Float64[np.ndarray, "f"]]) -> Float64[np.ndarray, "k f"]:
    return np.stack(rows) if rows else np.zeros((0, 0))


def of_features(name: str, features: Float[np.ndarray, "n d"]) -> Measurement:
    """Features for a metric of sets.

    ``<name>_features`` counts them: one pair has no distance of its own. A clip that is shorter
    than a window has none.
    """
    count = f"{name}_features"
    if not len(features):
        return Measurement({}, {count: Missing.SHORT_CLIP})
    if not np.isfinite(features).all():
        return Measurement({}, {count: Missing.NOT_FINITE})
    return Measurement({count: float(len(features))}, features=features.astype(np.float32))
