"""A delivered video made again from its sidecar: no manifest, no plan, a store of its own.

The sidecar names the units and the digests of the media; the media themselves are looked for by
their digest. Every stage computes its units of the recipe as jobs do, so that equal machines come
to equal bytes; where they do not, the stage that parts from the recipe first is the one to name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.batch.job import perform_shard
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.ledger import Ledger, Shard
from dispose_stages.batch.plan import revision
from dispose_stages.batch.run_files import read_pairs, write_stage_weights
from dispose_stages.batch.unit import Result, Status, Unit
from dispose_stages.config import STAGES, Config
from dispose_stages.errors import StoreError
from dispose_stages.store.files import file_digest
from dispose_stages.store.recipe import Made, read_recipe
from dispose_stages.store.shelf import Video, VideoShelf
from dispose_stages.weights.digests import DigestCache, digest_stages

_SHARD = "0-of-1"


class Likeness(StrEnum):
    """How a unit that was computed again compares with the recipe."""

    SAME = "same bytes"
    NUMBERS = "same inputs, other numbers: another kind of machine, number of threads, or library"
    INPUTS = "other numbers came in"
    PROGRAM = "other weights, or another revision of the stage"


def read_original(path: Path) -> tuple[Video, list[Made]]:
    """A delivered video as its sidecar describes it, and all that was computed for it.

    Raises:
        StoreError: There is no such video with its sidecar, or the sidecar says too little.
    """
    video = VideoShelf(path.parent).find(path.stem)
    if video is None or video.path.name != path.name:
        raise StoreError(f"{path}: no delivered video with its sidecar")
    steps = read_recipe(video.provenance.get("recipe", ()))
    upstream = {
        role: (str(item["stage"]), str(item["key"]))
        for role, item in video.provenance["upstream"].items()
    }
    params = dict(video.provenance["params"])
    mux = Made("mux", video.key, video.digest, str(params["pair_id"]), params, upstream)
    return video, [*steps, mux]


def find_media(video: Path, steps: Sequence[Made], places: Iterable[Path]) -> dict[str, Path]:
    """The media by their SHA-256: in files and folders, and where the run had them.

    Raises:
        StoreError: Some are in none of these.
    """
    wanted = {step.key for step in steps if step.stage == "ingest"}
    found: dict[str, Path] = {}
    for path in (*_files(places), *_planned(video)):
        if wanted <= found.keys():
            break
        if path.is_file() and (digest := file_digest(path)) in wanted:
            found.setdefault(digest, path.absolute())
    if missing := sorted(wanted - found.keys()):
        names = "; ".join(f"SHA-256 {digest}" for digest in missing)
        raise StoreError(f"media of the video are not found ({names}): name them with --media")
    return found


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.rglob("*")) if place.is_dir() else [place]


def _planned(video: Path) -> Iterator[Path]:
    """Media of the pair in the run beside the video, if that is still there."""
    with suppress(StoreError):
        for row in read_pairs(RunLayout(video.absolute().parents[1])):
            if row.pair_id == video.stem:
                yield from (Path(row.reference_image), Path(row.driving_video))


def rebuild(
    recipe: Sequence[Made], media: Mapping[str, Path], config: Config, folder: Path
) -> Iterator[tuple[Made, Likeness]]:
    """Compute everything again, stage by stage, below a folder; says how each unit compares.

    The video then lies in ``videos`` of the folder.

    Raises:
        StoreError: A stage comes to no result.
    """
    layout = RunLayout(folder)
    write_text(layout.config, readable_json(_settled(recipe, config, folder)))
    stages = [stage for stage in STAGES if any(step.stage == stage for step in recipe)]
    cache = DigestCache(folder / "weights.json")
    weights = digest_stages(config.models.folder, set(stages) - {"ingest"}, cache)
    write_stage_weights(layout, config.models.bundle, weights)
    results: dict[tuple[str, str], Result] = {}
    for stage in stages:
        steps = [step for step in recipe if step.stage == stage]
        units = [_unit(recipe, step, media) for step in steps]
        ledger = _compute(layout, stage, units)
        for step, unit in zip(steps, units, strict=True):
            result = _checked(stage, ledger[unit.id])
            same = all(_same(recipe, results, above) for above in step.upstream.values())
            results[stage, step.key] = result
            yield step, _likeness(step, result, same_inputs=same)


def _settled(recipe: Sequence[Made], config: Config, folder: Path) -> dict[str, Any]:
    """The configuration with what stages take from there and not from their units."""
    values = config.model_dump(mode="json")
    values |= {"store": str(folder / "store"), "score": {}}
    for step in recipe:
        if step.stage == "sample":
            values["sampling"]["precision"] = step.params["precision"]
        if step.stage == "correspondence":
            values["correspondence"]["prompt"] = step.params["prompt"]
    return values


def _kind(step: Made) -> str:
    """What a unit's source is to it."""
    return "video" if step.stage == "mux" or step.params.get("kind") == "video" else "image"


def _unit(recipe: Sequence[Made], step: Made, media: Mapping[str, Path]) -> Unit:
    if step.stage == "ingest":
        (reader, *_) = (r for r in recipe if (step.stage, step.key) in r.upstream.values())
        params: dict[str, Any] = {"kind": _kind(reader)}
        frame = reader.params.get("reference_frame")
        if frame is not None and params["kind"] == "image":
            params["reference_frame"] = frame
        sources = {"media": str(media[step.key])}
    else:
        params = dict(step.params)
        read = [key for of, key in step.upstream.values() if of == "ingest"]
        sources = {_kind(step): str(media[key]) for key in read}
    upstream = {role: (of, _name(recipe, of, key)) for role, (of, key) in step.upstream.items()}
    name = _name(recipe, step.stage, step.key)
    return Unit(step.stage, name, name, 0, params, sources, upstream)


def _name(recipe: Sequence[Made], stage: str, key: str) -> str:
    if stage == "ingest":
        return key[:20]
    (step,) = (s for s in recipe if (s.stage, s.key) == (stage, key))
    return step.unit


def _compute(layout: RunLayout, stage: str, units: list[Unit]) -> Mapping[str, Result]:
    upstream = {of: (_SHARD,) for unit in units for of, _ in unit.upstream.values()}
    shard = Shard(stage, _SHARD, revision(stage), tuple(units), upstream)
    write_text(layout.shard(stage, _SHARD), shard.to_json())
    if perform_shard(stage, layout.root, _SHARD) != 0:
        raise StoreError(f"{stage} was stopped; the same command begins anew")
    return Ledger.read(layout.ledger(stage, _SHARD)).units


def _checked(stage: str, result: Result) -> Result:
    if result.status is not Status.DONE:
        raise StoreError(f"{stage} comes to no result: {result.reason}: {result.message}")
    return result


def _same(
    recipe: Sequence[Made], results: Mapping[tuple[str, str], Result], above: tuple[str, str]
) -> bool:
    (step,) = (s for s in recipe if (s.stage, s.key) == above)
    return results[above].digest == step.digest


def _likeness(step: Made, result: Result, *, same_inputs: bool) -> Likeness:
    if result.digest == step.digest:
        return Likeness.SAME
    if not same_inputs:
        return Likeness.INPUTS
    return Likeness.NUMBERS if result.key == step.key else Likeness.PROGRAM
