"""Units of ``score``: a pair's video and a group of metrics at that group's settings.

Each group is a unit of its own, so that switching one on leaves the others as they are. Features
of what a result is compared with are units too, which all variants of a clip share.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dispose_stages.batch.unit import Params, RowPlan
from dispose_stages.config import Parameters
from dispose_stages.config_sampling import Precision
from dispose_stages.config_score import Definition, MetricGroup, Score
from dispose_stages.errors import ConfigError

REVISION = 3
"""Raised when the numbers this stage computes change."""

SET_GROUPS: frozenset[MetricGroup] = frozenset({"fid", "fvd", "cd_fvd"})
"""Groups whose metrics compare sets of clips, by features of each."""
_WINDOW_GROUPS = frozenset({"fvd", "cd_fvd"})
_TRUTH_GROUPS = frozenset({"frames", "lpips"})
_SHOWN: Mapping[str, Mapping[str, str]] = {
    "delivered": {"video": "mux"},
    "before_codec": {"latents": "sample"},
    "truth": {},
}
Shown = Literal["delivered", "before_codec", "truth"]
Against = Literal["nothing", "plain", "aligned"]


class ScoreParams(Params):
    """What decides the numbers of a group; what a group does not read has its default.

    Attributes:
        group: Which metrics.
        shown: The delivered file, its frames before the codec, or the true ones.
        against: How true frames are brought to the result's place, where they are compared with.
        definitions: Of what is compared with the truth.
        tile_size: Of the sampler, for the seams.
        tile_overlap: Of the sampler, for the seams.
        lpips_backbone: Network of LPIPS.
        window_frames: Of metrics of short clips.
        window_stride: Frames between their beginnings.
        identity_mean: Of the face network's input.
        identity_scale: By which it is divided.
        identity_bgr: Whether it is blue, green, red.
        decode_chunk_size: Of the decoder, for frames before the codec.
        decode_context: Of the decoder, likewise.
    """

    group: MetricGroup
    shown: Shown
    against: Against = "nothing"
    definitions: tuple[Definition, ...] = ()
    tile_size: int = 0
    tile_overlap: int = 0
    lpips_backbone: str = ""
    window_frames: int = 0
    window_stride: int = 0
    identity_mean: float | None = None
    identity_scale: float | None = None
    identity_bgr: bool = False
    decode_chunk_size: int = 0
    decode_context: int = 0
    precision: Precision | None = None
    reference_frame: int | None = None


def work(parameters: Parameters, frames: float, _role: str) -> float:
    """Frames and their size."""
    return frames * parameters.resolution**2


def plan(row: RowPlan) -> None:
    """The scores of a row, if any are wanted.

    Raises:
        ConfigError: A group lacks its weights or the extra.
    """
    score = row.config.score
    if not score.metrics:
        return
    check_setup(score)
    for group in dict.fromkeys(score.metrics):
        for shown in ("delivered", "before_codec") if score.before_codec else ("delivered",):
            for against in _against(row, group):
                _add(row, group, shown, against)
        if group in SET_GROUPS:
            _add(row, group, "truth", "nothing")


def _against(row: RowPlan, group: MetricGroup) -> tuple[Against, ...]:
    has_truth = bool(row.row.truth_video) or row.row.reference_frame is not None
    if group not in _TRUTH_GROUPS or not has_truth:
        return ("nothing",)
    wanted = row.config.score.truth
    return ("plain", "aligned") if wanted == "both" else (wanted,)


def role_of(group: MetricGroup, shown: Shown, against: Against) -> str:
    """Name of the unit among those of its row: such as ``score_frames_before_codec``."""
    parts = ["score", group]
    parts += [shown] if shown != "delivered" else []
    return "_".join([*parts, *(["aligned"] if against == "aligned" else [])])


def _add(row: RowPlan, group: MetricGroup, shown: Shown, against: Against) -> None:
    own, score = row.row, row.config.score
    truth = own.truth_video or own.driving_video
    reads = {"motion": "motion", **_SHOWN[shown]}
    if own.parameters.align == "proportions" and (group == "frames" or against == "aligned"):
        reads["driving_pose"] = "pose_video"  # what was moved limb by limb
    sources: dict[str, str] = {}
    if shown == "truth" or against != "nothing":
        reads["truth"] = "ingest_truth" if own.truth_video else "ingest_video"
        reads["driver"] = "ingest_video"
        sources["truth"] = truth
    if group == "identity":
        reads["image"], sources["image"] = "ingest_image", own.reference_image
    for number, path in enumerate(score.weight_files(group)):
        reads[f"weights_{number}"] = f"ingest_{group}_{number}"
        sources[f"weights_{number}"] = path
    row.add(
        role_of(group, shown, against),
        _params(row, group, shown, against),
        label=f"{own.pair_id} {group}",
        near=row.units["mux"].route,
        sources=sources,
        reads=reads,
    )


def _params(row: RowPlan, group: MetricGroup, shown: Shown, against: Against) -> ScoreParams:
    own, score, parameters = row.row, row.config.score, row.row.parameters
    values: dict[str, object] = {"group": group, "shown": shown, "against": against}
    if group in _TRUTH_GROUPS:
        values["definitions"] = score.definitions
    if group == "frames":
        values |= {"tile_size": parameters.tile_size, "tile_overlap": parameters.tile_overlap}
    if group == "lpips":
        values["lpips_backbone"] = score.lpips_backbone
    if group in _WINDOW_GROUPS:
        values["window_frames"] = score.window_frames
        values["window_stride"] = score.window_stride
    if group == "identity":
        names = ("identity_mean", "identity_scale", "identity_bgr")
        values |= {name: getattr(score, name) for name in names}
        values["reference_frame"] = own.reference_frame
    if shown == "before_codec":
        values["decode_chunk_size"] = parameters.decode_chunk_size
        values["decode_context"] = parameters.decode_context
        values["precision"] = row.config.sampling.precision
    return ScoreParams.model_validate(values)


@cache
def check_setup(score: Score) -> None:
    """Say what is missing before anything runs.

    Raises:
        ConfigError: Lists weights without a path, files that are not there, and the extra.
    """
    problems = []
    for group in score.metrics:
        if group in {"frames", "pose"}:
            continue
        files = score.weight_files(group)
        if not files:
            problems.append(f"score.{group}_weights names no file (docs/benchmark.md)")
        problems += [
            f"score.{group}_weights: no such file: {path}"
            for path in files
            if not Path(path).is_file()
        ]
    if "lpips" in score.metrics and find_spec("torchmetrics") is None:
        problems.append("LPIPS needs the extra `score`: pip install 'dispose-stages[score]'")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"scores cannot be computed:\n{lines}")
