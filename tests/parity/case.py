"""One recorded case: arrays, parameters and formula weights, as `golden/README.md` states them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

DEFAULT_SALT = "dispose-dev"
BODY_POINTS = 18


class SkipCase(Exception):  # noqa: N818 - a verdict, not an error
    """This case cannot be replayed here; the message says why."""


@dataclass(frozen=True)
class Check:
    """One comparison: the worst error and the limit it must stay within (inclusive)."""

    name: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """A NaN error fails."""
        return bool(self.error <= self.limit)


@dataclass
class Case:
    """A recorded file below the root of a golden directory."""

    root: Path
    path: Path
    _cache: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Path below the root without its ending, e.g. ``dwpose/pipeline_one``."""
        return self.path.relative_to(self.root).with_suffix("").as_posix()

    @cached_property
    def _npz(self) -> Any:
        return np.load(self.path, allow_pickle=False)

    @cached_property
    def json(self) -> Any:
        """Content of a ``.json`` case."""
        return json.loads(self.path.read_text())

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The file's own ``meta_json``."""
        return dict(json.loads(str(self._npz["meta_json"])))

    @property
    def salt(self) -> str:
        """Salt of the weight formula."""
        return str(self.meta.get("salt", DEFAULT_SALT))

    def __contains__(self, key: str) -> bool:
        return key in self._npz.files

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._cache:
            self._cache[key] = self._npz[key]
        return self._cache[key]

    def body(self, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Keypoints ``(frames, 18, 2)`` and visibility of the person that drives.

        Where several were seen, each frame lists 18 points for every one; the first 18 count.
        """
        points, persons = self[f"{prefix}candidate"], self[f"{prefix}subset"]
        visible = persons.reshape(len(persons), -1)[:, :BODY_POINTS] >= 0
        return points[:, :BODY_POINTS], visible

    def keys(self) -> list[str]:
        """Names of all arrays, without the meta data."""
        return [key for key in self._npz.files if key != "meta_json"]


@dataclass(frozen=True)
class Family:
    """Cases whose path below the root matches `pattern`, and how to replay one of them.

    Attributes:
        pattern: Glob over the case name, e.g. ``dwpose/pipeline*``.
        replay: Yields one `Check` per compared array; raises `SkipCase` where it cannot run.
        slow: Needs gigabytes or minutes.
    """

    pattern: str
    replay: Callable[[Case], Iterable[Check]]
    slow: bool = False


def max_abs(actual: Any, expected: Any) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    a, b = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0))


def stride_of(recorded: int, full: int) -> int:
    """Step of a recording that holds every n-th value."""
    return -(-full // recorded)


def relative_to_peak(actual: Any, expected: Any) -> float:
    """Largest absolute difference over the largest expected magnitude."""
    peak = float(np.abs(np.asarray(expected, dtype=np.float64)).max(initial=0.0))
    return max_abs(actual, expected) / max(peak, np.finfo(np.float64).tiny)


def _gain(full_key: str) -> float:
    if full_key.startswith("cmp.module.flow_encoder."):
        return 3.0
    if full_key.startswith("cmp.module.flow_decoder."):
        return 1.5
    return 2.0 if full_key.startswith("pose_net.") else 1.0


def formula_tensor(full_key: str, shape: Iterable[int], *, salt: str) -> np.ndarray:
    """The weight of one state-dict entry (`golden/README.md`, "Weight formula"); float32."""
    shape = tuple(shape)
    seed = zlib.crc32(f"{salt}|{full_key}".encode())
    size = int(np.prod(shape, dtype=np.int64))
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal(size).reshape(shape)
    last = full_key.rsplit(".", 1)[-1]
    if len(shape) >= 2:
        value = _gain(full_key) * x / np.sqrt(np.prod(shape[1:]))
    elif last == "weight":
        value = 1 + 0.1 * x
    elif last in {"bias", "running_mean"}:
        value = 0.1 * x
    elif last == "running_var":
        value = 1 + 0.1 * np.abs(x)
    else:
        value = 0.5 + 0.25 * x
    return np.asarray(value, dtype=np.float32)


def formula_state(
    shapes: Mapping[str, Iterable[int]],
    *,
    prefix: str,
    salt: str,
    integer_keys: frozenset[str] | None = None,
) -> dict[str, np.ndarray]:
    """State dict by the formula; ``num_batches_tracked`` and `integer_keys` are zero."""
    state: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked") or (integer_keys and key in integer_keys):
            state[key] = np.zeros(tuple(shape), dtype=np.int64)
        else:
            state[key] = formula_tensor(prefix + key, shape, salt=salt)
    return state
