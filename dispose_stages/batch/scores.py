"""Scores of a run as a table in long form, ``scores.parquet`` (docs/data-format.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dispose_stages.artifacts import Scores
from dispose_stages.atomic import replacing
from dispose_stages.batch.manifest import Row
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.unit import Result, Status
from dispose_stages.config import Parameters
from dispose_stages.errors import StoreError
from dispose_stages.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = {"format": "dispose-scores", "format_version": "1"}
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "full": (True, True),
    "no_motion": (False, True),
    "no_correspondence": (True, False),
    "base": (False, False),
}
"""Name to motion guidance and correspondence guidance, in the order of tables."""
_VARIANT_NAMES = {guided: name for name, guided in VARIANTS.items()}
_ROWS = 200_000
_SUFFIXES = ("_before_codec_aligned", "_before_codec", "_aligned", "_truth")


def variant_of(parameters: Parameters) -> str:
    """Full DisPose or which ablation, as the paper names them."""
    guided = parameters.motion_guidance, parameters.correspondence_guidance
    return _VARIANT_NAMES[guided]


def score_results(outcomes: RunOutcomes, pair: Row) -> Iterator[tuple[str, Result]]:
    """Role and result of every group that was to be measured; pending ones count as failed."""
    for role in pair.units:
        if role.startswith("score_"):
            result = outcomes.result(pair, role)
            yield role, result if result is not None else Result(Status.PENDING)


def suffix_of(role: str) -> str:
    """What tells a group's unit from that of the delivered file: ``_before_codec`` and so on."""
    return next((suffix for suffix in _SUFFIXES if role.endswith(suffix)), "")


def group_of(role: str) -> str:
    """The group of metrics that a unit computes."""
    return role.removeprefix("score_").removesuffix(suffix_of(role))


def score_columns(outcomes: RunOutcomes, pair: Row) -> dict[str, float]:
    """A pair's values by column of ``index.parquet``."""
    return {
        f"score_{name}{suffix_of(role)}": value
        for role, result in score_results(outcomes, pair)
        for name, value in result.facts.get("values", {}).items()
        if suffix_of(role) != "_truth"
    }


def pair_rows(outcomes: RunOutcomes) -> Iterator[dict[str, Any]]:
    """A record per pair and metric; a group that failed has one under its own name."""
    for pair in outcomes.pairs:
        for role, result in score_results(outcomes, pair):
            suffix = suffix_of(role)
            common = {
                "pair_id": pair.pair_id,
                "variant": variant_of(pair.parameters),
                "group": role.removeprefix("score_"),
                "frame": None,
                "protocol": result.facts.get("protocol"),
            }
            if suffix == "_truth":
                continue
            if result.status is not Status.DONE:
                reason = str(result.reason or result.status)
                yield {**common, "metric": f"{group_of(role)}:*{suffix}", "reason": reason}
                continue
            for name, value in result.facts.get("values", {}).items():
                yield {**common, "metric": name + suffix, "value": value}
            for name, reason in result.facts.get("missing", {}).items():
                yield {**common, "metric": name + suffix, "reason": reason}


def frame_rows(outcomes: RunOutcomes, store: ArtifactStore) -> Iterator[dict[str, Any]]:
    """A record per frame that has a value; artifacts that are gone give none."""
    for pair in outcomes.pairs:
        for role, result in score_results(outcomes, pair):
            if result.status is not Status.DONE or suffix_of(role) == "_truth":
                continue
            try:
                scores = store.read("score", result.key, Scores)
            except StoreError:
                continue
            for name, series in zip(scores.frame_metrics, scores.frame_values, strict=True):
                for frame in np.flatnonzero(np.isfinite(series)).tolist():
                    yield {
                        "pair_id": pair.pair_id,
                        "variant": variant_of(pair.parameters),
                        "group": role.removeprefix("score_"),
                        "frame": frame,
                        "protocol": result.facts.get("protocol"),
                        "metric": name + suffix_of(role),
                        "value": float(series[frame]),
                    }


def score_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Records as an Arrow table of the documented columns; what a record lacks is null."""
    import pyarrow as pa

    texts = ("pair_id", "variant", "group", "metric", "reason", "protocol")
    types = {**dict.fromkeys(texts, pa.string()), "frame": pa.int64(), "value": pa.float64()}
    names = ("pair_id", "variant", "group", "metric", "frame", "value", "reason", "protocol")
    schema = pa.schema([(name, types[name]) for name in names], metadata=FORMAT)
    return pa.Table.from_pylist(list(rows), schema=schema)


def write_scores(outcomes: RunOutcomes) -> None:
    """Write ``scores.parquet``: values of whole clips first, then those of frames."""
    import pyarrow.parquet as pq

    store = ArtifactStore(Path(read_run_config(outcomes.layout).store))
    schema = score_table([]).schema
    with replacing(outcomes.layout.scores) as temporary, pq.ParquetWriter(temporary, schema) as out:
        for rows in (pair_rows(outcomes), frame_rows(outcomes, store)):
            for block in _blocks(rows):
                out.write_table(score_table(block))


def _blocks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    stream = iter(rows)
    while block := list(islice(stream, _ROWS)):
        yield block
