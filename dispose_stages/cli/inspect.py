"""``dispose inspect``: the artifacts of one pair."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispose_stages.batch.unit import Status, stage_of
from dispose_stages.cli.options import FOLDER, run_dir_argument
from dispose_stages.cli.terminal import say
from dispose_stages.config import STORED_STAGES

if TYPE_CHECKING:
    from dispose_stages.batch.manifest import Row
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.batch.unit import Result
    from dispose_stages.store.artifacts import ArtifactStore


@click.command()
@run_dir_argument
@click.argument("pair_id", metavar="PAIR")
@click.option(
    "--preview",
    type=FOLDER,
    help="Also write pictures of poses, motion fields and correspondence into this folder.",
)
@click.option(
    "--keypoint",
    type=click.IntRange(0, 17),
    default=1,
    show_default=True,
    help="Body keypoint (OpenPose order) whose correspondence is pictured.",
)
def inspect(*, run_dir: Path, pair_id: str, preview: Path | None, keypoint: int) -> None:
    """Show what there is of PAIR: artifacts, their keys, arrays, shapes and sizes.

    Exit status 1 if a picture that was asked for could not be drawn.
    """
    from dispose_stages.batch.outcomes import RunOutcomes
    from dispose_stages.batch.run_files import read_run_config
    from dispose_stages.store.artifacts import ArtifactStore

    outcomes = RunOutcomes.read(run_dir)
    pair = outcomes.pair(pair_id)
    store = ArtifactStore(Path(read_run_config(outcomes.layout).store))
    for line in pair_lines(outcomes, pair, store):
        say(line)
    if preview is not None:
        from dispose_stages.cli.previews import Previews

        previews = Previews(outcomes, pair, store, keypoint)
        for path in previews.write(preview):
            say(f"written: {path}")
        for remark in previews.remarks:
            say(remark)
        sys.exit(1 if previews.failed else 0)


def pair_lines(outcomes: RunOutcomes, pair: Row, store: ArtifactStore) -> Iterator[str]:
    """The description of one pair."""
    from dispose_stages.batch.outcomes import ROLES

    outcome = outcomes.pair_outcome(pair)
    yield f"{pair.pair_id}: {outcome.status}"
    if outcome.reason:
        yield f"  {outcome.stage} failed: {outcome.reason}: {outcome.message}"
    yield f"  reference image  {pair.reference_image}"
    yield f"  driving video    {pair.driving_video}"
    yield "  parameters       " + ", ".join(f"{k}={v}" for k, v in pair.parameters)
    for role in ROLES:
        result = outcomes.result(pair, role)
        yield f"{role}: {result.status if result else Status.PENDING}"
        if result is not None:
            yield from result_lines(stage_of(role), result, store)


def result_lines(stage: str, result: Result, store: ArtifactStore) -> Iterator[str]:
    """What a ledger says of a unit, and what the store holds of it."""
    if result.reason:
        yield f"  {result.reason}: {result.message}"
    for name, value in result.facts.items():
        yield f"  {name}: {value}"
    if result.status is not Status.DONE or stage not in STORED_STAGES:
        return
    from dispose_stages.store.listing import describe_arrays

    path = store.path(stage, result.key)
    yield f"  key {result.key}"
    yield f"  digest {result.digest}"
    try:
        arrays = [f"    {line}" for line in describe_arrays(path)]
        size = path.stat().st_size
    except Exception as error:  # noqa: BLE001 - the pair's other artifacts are asked for too
        yield f"  {type(error).__name__}: {error}"
        return
    yield f"  {path} ({size:,} bytes)"
    yield from arrays
