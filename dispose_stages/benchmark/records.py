"""Scores of runs as one table: a record per pair and metric, with what pairs are grouped by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dispose_stages.batch.layout import RunLayout
from dispose_stages.benchmark.table import joined
from dispose_stages.benchmark.vbench import FILE as VBENCH_FILE
from dispose_stages.errors import ConfigError, StoreError

_CASE = ("reference_digest", "driver_digest", "reference_frame", "parameter_seed")
_CASE_PARAMETERS = ("start_frame", "max_frames", "sample_stride", "resolution")


def read_scores(runs: Sequence[Path]) -> pd.DataFrame:
    """Values of whole clips of several runs.

    Columns: ``run``, ``pair_id``, ``variant``, ``driver``, ``reference``, ``case`` (what variants
    of a pair have in common), ``group``, ``metric``, ``value``, ``reason``, ``protocol``. A pair
    whose group failed as a whole has a record for every metric that others have of the group.

    Raises:
        StoreError: A run has no scores.
    """
    return pd.concat([_of_run(run) for run in runs], ignore_index=True)


def _of_run(run: Path) -> pd.DataFrame:
    layout = RunLayout(run)
    try:
        # Values of frames fill row groups of their own, whose statistics let them be passed over.
        scores = pq.read_table(layout.scores, filters=pc.field("frame").is_null()).to_pandas()
        index = pq.read_table(layout.index).to_pandas().set_index("pair_id")
    except (OSError, ValueError) as error:
        raise StoreError(f"{run} has no scores (`dispose report` writes them): {error}") from None
    if (layout.root / VBENCH_FILE).exists():
        vbench = pq.read_table(layout.root / VBENCH_FILE).to_pandas()
        scores = pd.concat([scores, vbench], ignore_index=True)
    scores = scores.drop(columns="frame")
    if scores.empty:
        raise StoreError(f"{run} has no scores: its configuration names no score.metrics")
    scores = _spread(scores)
    pairs = scores["pair_id"]
    case = [*_CASE, *(f"parameter_{name}" for name in _CASE_PARAMETERS)]
    cases = joined([index[name] for name in case], "|")
    return scores.assign(
        run=run.name,
        driver=pairs.map(index["driving_video"].map(lambda path: Path(path).name)),
        reference=pairs.map(index["reference_image"].map(lambda path: Path(path).name)),
        case=pairs.map(cases),
    )


def _spread(scores: pd.DataFrame) -> pd.DataFrame:
    """A failed group's record under every metric that the group has elsewhere."""
    failed = scores["metric"].str.endswith("*")
    known = scores[~failed][["group", "metric"]].drop_duplicates()
    spread = scores[failed].drop(columns="metric").merge(known, on="group", how="left")
    nobody = spread["metric"].isna()
    spread.loc[nobody, "metric"] = spread.loc[nobody, "group"]
    return pd.concat([scores[~failed], spread], ignore_index=True)


def check_protocols(scores: pd.DataFrame) -> None:
    """Refuse to compare what was measured differently.

    Raises:
        ConfigError: Names the metrics and how many pairs each protocol has.
    """
    measured = scores.dropna(subset=["protocol"])
    lines = []
    for metric, records in measured.groupby("metric", sort=True):
        several = records.groupby("protocol")["pair_id"].nunique().to_dict()
        if len(several) > 1:
            each = ", ".join(f"{p}: {n} pairs" for p, n in several.items())
            lines.append(f"  {metric} ({each})")
    if lines:
        raise ConfigError(
            "these values were not measured alike (docs/benchmark.md, protocols); "
            "--mixed shows them all the same:\n" + "\n".join(lines)
        )
