"""The table about a run for users of its videos: ``index.parquet``.

It is rewritten as a whole, by rename. Its columns are specified in docs/data-format.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from dispose_stages import __version__
from dispose_stages.atomic import replacing
from dispose_stages.batch.ledger import Shard
from dispose_stages.batch.outcomes import ROLES, Outcome, PairStatus, RunOutcomes
from dispose_stages.batch.run_files import read_run_config, read_stage_weights
from dispose_stages.batch.scores import score_columns
from dispose_stages.batch.unit import Result, stage_of
from dispose_stages.config import STORED_STAGES, Config, Parameters
from dispose_stages.errors import StoreError
from dispose_stages.geometry.frames import paced_rate
from dispose_stages.store.artifacts import ArtifactStore

INDEX_FORMAT = "dispose-index"
INDEX_VERSION = 2
_STORED_ROLES = tuple(role for role in ROLES if stage_of(role) in STORED_STAGES)
_GPU_COLUMNS = ("gpu", "gpu_driver")
PAIR_FACTS = (
    *("reference_score", "driver_score", "reference_keypoints", "alignment_scale_x"),
    *("alignment_scale_y", "alignment_offset_x", "alignment_offset_y", "alignment_residual"),
    "no_person_share",
)
"""What ``motion`` tells of a pair."""
RETARGET_FACTS = (
    *("retarget_body", "retarget_distinct", "retarget_uncertain"),
    *("retarget_residual", "retarget_ground_slip", "retarget_displacement"),
)
"""What it tells of a pair with ``align: proportions``."""
_TYPES = {
    **dict.fromkeys(("pair_id", "status", "reference_image", "driving_video"), "string"),
    **dict.fromkeys(("reference_digest", "driver_digest", "output", "video_digest"), "string"),
    **dict.fromkeys(_GPU_COLUMNS, "string"),
    **dict.fromkeys(
        ("failed_stage", "reason", "message", "code_revision", "truth_video"), "string"
    ),
    **dict.fromkeys(
        ("line", "reference_frame", "frames", "width", "height", "size_bytes", "reference_persons"),
        "Int64",
    ),
    **dict.fromkeys(("fps", "duration", "tempo", "parameter_fps"), "float64"),
    **dict.fromkeys((*PAIR_FACTS, *RETARGET_FACTS), "float64"),
    "reference_keypoints": "Int64",
    **dict.fromkeys(("warnings", "scene_cuts"), "object"),
}
_TYPES_BY_PREFIX = {
    "parameter_": "",
    "weights_": "string",
    "key_": "string",
    "path_": "string",
    "seconds_": "float64",
    "score_": "float64",
    "manifest_": "string",
}
_LARGEST = 2**63
_PARAMETER_TYPES = {bool: "boolean", int: "Int64", float: "float64"}


def extra_column(name: str) -> str:
    """Name in the index of a manifest's own column: the same, unless the index has one like it."""
    folded = name.casefold()
    taken = folded in _TYPES or folded.startswith(tuple(_TYPES_BY_PREFIX))
    return f"manifest_{name}" if taken else name


def _common(outcomes: RunOutcomes) -> dict[str, str | None]:
    """What all pairs of a run have in common."""
    stages = dict.fromkeys(map(stage_of, ROLES))
    revisions = ", ".join(f"{s} {_revision(outcomes, s)}" for s in stages)
    weights = {f"weights_{s}": _weights(outcomes, s) for s in stages if s != "ingest"}
    return {"code_revision": f"dispose-stages {__version__}: {revisions}", **weights}


def _gpus(outcomes: RunOutcomes) -> dict[str, tuple[str, str]]:
    """Unit of ``sample`` to model and driver of its GPU, empty where there was none."""
    shards = [shard for shard in outcomes.shards if shard.stage == "sample"]
    return {unit: shard.stats.gpu_of(unit) for shard in shards for unit in shard.results}


def _artifact_paths(config: Config) -> Callable[[str, str], str | None]:
    """Path below the store by stage and key; None for what was freed, where that may be."""
    store = ArtifactStore(Path(config.store))
    freed = [stage for stage in STORED_STAGES if not config.store.keeps(stage)]
    present = {stage: frozenset(store.keys(stage)) for stage in freed}

    def path_of(stage: str, key: str) -> str | None:
        if not key or (stage in present and key not in present[stage]):
            return None
        return str(store.path(stage, key).relative_to(store.root))

    return path_of


def _weights(outcomes: RunOutcomes, stage: str) -> str | None:
    try:
        return read_stage_weights(outcomes.layout, stage) or None
    except StoreError:  # no job of the run has begun
        return None


def _revision(outcomes: RunOutcomes, stage: str) -> int:
    """Of the code the run was planned with, which may be older than this program."""
    name = next(iter(outcomes.summary.shards[stage]))
    return Shard.read(outcomes.layout.shard(stage, name)).revision


def index_records(outcomes: RunOutcomes) -> Iterator[dict[str, Any]]:
    """One record per pair; parameters, weights, keys, paths and seconds by prefix."""
    config = read_run_config(outcomes.layout)
    common, seconds, gpus = _common(outcomes), outcomes.seconds(), _gpus(outcomes)
    path_of = _artifact_paths(config)
    for outcome in outcomes.pair_outcomes():
        pair = outcome.pair
        results = {role: outcomes.result(pair, role) for role in ROLES}
        # The key of a media file's facts is the digest of its content.
        digests = {role: result.key for role, result in results.items() if result is not None}
        yield {
            "pair_id": pair.pair_id,
            "line": pair.line,
            "status": str(outcome.status),
            "reference_image": pair.reference_image,
            "reference_digest": digests.get("ingest_image") or None,
            "driving_video": pair.driving_video,
            "reference_frame": pair.reference_frame,
            "truth_video": pair.truth_video or None,
            "driver_digest": digests.get("ingest_video") or None,
            **_video_columns(outcome, results["mux"], config.encoding.container),
            "tempo": _tempo(outcome, results),
            "failed_stage": outcome.stage if outcome.status is PairStatus.FAILED else None,
            "reason": outcome.reason or None,
            "message": outcome.message or None,
            **_numbers(results["motion"], *PAIR_FACTS, "reference_persons", *RETARGET_FACTS),
            "scene_cuts": _scene_cuts(results["pose_video"]),
            "warnings": outcomes.warnings(pair),
            **common,
            **_gpu_columns(gpus.get(pair.units.get("sample", ""), ("", ""))),
            **{f"parameter_{name}": value for name, value in pair.parameters},
            "parameter_fps": None if pair.parameters.fps == "driver" else pair.parameters.fps,
            **_unit_columns(results, path_of),
            **{f"seconds_{r}": seconds.get((stage_of(r), pair.units.get(r, ""))) for r in ROLES},
            "key_score_pose": outcomes.key(pair, "score_pose"),
            **score_columns(outcomes, pair),
            **{extra_column(name): value or None for name, value in pair.extra.items()},
        }


def _scene_cuts(pose: Result | None) -> list[int]:
    cuts = pose.facts.get("scene_cuts") if pose is not None else None
    return [cut for cut in cuts if isinstance(cut, int)] if isinstance(cuts, list) else []


def _video_columns(outcome: Outcome, mux: Result | None, container: str) -> dict[str, Any]:
    """The delivered video; the same columns, without values, where there is none."""
    delivered = mux if outcome.status is PairStatus.DELIVERED else None
    numbers = _numbers(delivered, "size_bytes", "frames", "width", "height", "fps")
    frames, fps = numbers["frames"], numbers["fps"]
    return {
        "output": f"videos/{outcome.pair.pair_id}.{container}" if delivered is not None else None,
        "video_digest": delivered.digest if delivered is not None else None,
        **numbers,
        "duration": frames / fps if frames and fps else None,
    }


def _tempo(outcome: Outcome, results: Mapping[str, Result | None]) -> float | None:
    """How much faster than its driver a delivered video moves."""
    video, driver = results["mux"], results["ingest_video"]
    if outcome.status is not PairStatus.DELIVERED or video is None or driver is None:
        return None
    if outcome.pair.parameters.interpolate != "none":
        return 1.0
    own, read = (_numbers(result, "fps")["fps"] for result in (video, driver))
    if not own or not read:
        return None
    return own / paced_rate(read, outcome.pair.parameters.sample_stride)


def pair_facts(motion: Result | None) -> dict[str, float | None]:
    """Detection and alignment; None where the pair did not get so far."""
    return _numbers(motion, *PAIR_FACTS, *RETARGET_FACTS)


def _numbers(result: Result | None, *names: str) -> dict[str, float | None]:
    """Facts of these names; None where there is no number that the column can hold."""
    facts = result.facts if result is not None else {}
    return {name: _number(facts.get(name), _TYPES[name]) for name in names}


def _number(value: Any, kind: str) -> float | None:
    usable = isinstance(value, int if kind == "Int64" else int | float)
    return value if usable and abs(value) < _LARGEST else None


def _gpu_columns(gpu: tuple[str, str]) -> dict[str, str | None]:
    return {name: value or None for name, value in zip(_GPU_COLUMNS, gpu, strict=True)}


def _unit_columns(
    results: Mapping[str, Result | None], path_of: Callable[[str, str], str | None]
) -> dict[str, str | None]:
    keys = {role: result.key if result is not None else "" for role, result in results.items()}
    columns = {f"key_{role}": key or None for role, key in keys.items()}
    return columns | {f"path_{r}": path_of(stage_of(r), keys[r]) for r in _STORED_ROLES}


def write_index(outcomes: RunOutcomes) -> None:
    """Write ``index.parquet``; column types do not depend on which pairs were delivered."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = pd.DataFrame(list(index_records(outcomes)))
    frame = frame.astype({column: _dtype(column) for column in frame.columns})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, kind in (("warnings", pa.string()), ("scene_cuts", pa.int64())):
        lists = pa.array(frame[name], pa.list_(kind))
        table = table.set_column(table.column_names.index(name), name, lists)
    version = {"format": INDEX_FORMAT, "format_version": str(INDEX_VERSION)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **version})
    with replacing(outcomes.layout.index) as temporary:
        pq.write_table(table, temporary)


def _dtype(column: str) -> str:
    if column in _TYPES:
        return _TYPES[column]
    if column.startswith("parameter_"):
        field = Parameters.model_fields.get(column.removeprefix("parameter_"))
        annotation = field.annotation if field is not None else str
        kinds = (annotation, *get_args(annotation))
        return next((_PARAMETER_TYPES[k] for k in kinds if k in _PARAMETER_TYPES), "string")
    return next((t for p, t in _TYPES_BY_PREFIX.items() if column.startswith(p)), "string")
