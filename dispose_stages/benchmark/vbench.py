"""VBench beside our own scores: a folder for its command, and what its JSON says.

VBench lives in an environment of its own (it pins old libraries), so nothing of it is imported:

    dispose vbench export results/first --to videos
    vbench evaluate --videos_path videos --mode custom_input --dimension motion_smoothness …
    dispose vbench import results/first evaluation_results/…_eval_results.json
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dispose_stages.atomic import replacing
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.outcomes import PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config
from dispose_stages.batch.scores import score_table, variant_of
from dispose_stages.errors import StoreError
from dispose_stages.records import parse, read_bytes

FILE = "scores_vbench.parquet"
GROUP = PROTOCOL = "vbench"
"""Its JSON says nothing of how it was measured, so all of it counts as one protocol."""
NOT_MEASURED = "not_in_vbench_results"


def export_videos(run: Path, folder: Path) -> tuple[int, int]:
    """Copy the delivered videos to a flat folder, under their pairs' ids.

    Returns:
        How many there are, and of how many pairs.

    Raises:
        StoreError: There is no such run, or the folder holds other files.
    """
    outcomes = RunOutcomes.read(run)
    container = read_run_config(outcomes.layout).encoding.container
    names = {f"{pair.pair_id}.{container}" for pair in outcomes.pairs}
    folder.mkdir(parents=True, exist_ok=True)
    if others := sorted(p.name for p in folder.iterdir() if p.name not in names):
        raise StoreError(f"{folder} holds other files, such as {others[0]}; name an empty folder")
    count = 0
    for outcome in outcomes.pair_outcomes():
        if outcome.status is PairStatus.DELIVERED:
            name = f"{outcome.pair.pair_id}.{container}"
            with replacing(folder / name) as temporary:
                shutil.copyfile(outcomes.layout.videos / name, temporary)
            count += 1
    return count, len(outcomes.pairs)


def import_results(run: Path, results: Path) -> list[str]:
    """Write what VBench found beside the run's scores; tables show it with them.

    Args:
        results: Its JSON: dimension to ``[mean, [{video_path, video_results}, …]]``.

    Returns:
        The metrics.

    Raises:
        StoreError: There is no such run, or the file is none of VBench's.
    """
    import pyarrow.parquet as pq

    outcomes = RunOutcomes.read(run)
    try:
        values = dict(_dimensions(parse(read_bytes(results))))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{results}: not a result of VBench: {error}") from None
    rows = list(_rows(outcomes, values))
    with replacing(RunLayout(run).root / FILE) as temporary:
        pq.write_table(score_table(rows), temporary)
    return sorted(values)


def _dimensions(content: Any) -> Iterator[tuple[str, dict[str, float]]]:
    for dimension, (_mean, videos) in content.items():
        values = {Path(v["video_path"]).stem: float(v["video_results"]) for v in videos}
        yield f"{GROUP}_{dimension}", values


def _rows(
    outcomes: RunOutcomes, values: Mapping[str, Mapping[str, float]]
) -> Iterator[dict[str, Any]]:
    for pair in outcomes.pairs:
        for metric, by_pair in values.items():
            value = by_pair.get(pair.pair_id)
            yield {
                "pair_id": pair.pair_id,
                "variant": variant_of(pair.parameters),
                "group": GROUP,
                "metric": metric,
                "value": value,
                "reason": NOT_MEASURED if value is None else None,
                "protocol": None if value is None else PROTOCOL,
            }
