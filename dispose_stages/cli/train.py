"""``dispose train``: train the small bundle, or the ControlNet on a data set of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispose_stages.cli.options import FILE
from dispose_stages.cli.terminal import say

if TYPE_CHECKING:
    from dispose_stages.training.settings import TrainSettings

STEPS = (
    "unpack",
    "data",
    "vae",
    "encode",
    "decoder",
    "base",
    "cmp",
    "features",
    "guidance",
    "control",
)
"""Steps that write into the working folder, in order."""


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--settings``, and what may be changed on the command line."""
    options = (
        click.option(
            "--settings",
            "settings_file",
            type=FILE,
            default=Path("config/train.yaml"),
            show_default=True,
            help="Settings of the training.",
        ),
        click.option("--folder", type=click.Path(file_okay=False), help="Working folder."),
        click.option("--device", help="cpu or cuda."),
        click.option("--threads", type=int, help="CPU threads."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def train() -> None:
    """Train the small bundle on procedural figures."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@train.command()
@click.argument("name", type=click.Choice(STEPS))
@settings_options
def step(name: str, settings_file: Path, **changes: Any) -> None:
    """Run one step; a step that was interrupted goes on from its saved state.

    Started by ``torchrun --nproc-per-node N --no-python``, N processes train together, with one
    batch each per optimiser step.
    """
    from dispose_stages.training.parallel import joined
    from dispose_stages.training.steps import Training

    settings = _settings(settings_file, changes)
    with joined(settings.device) as device:
        getattr(Training(settings.model_copy(update={"device": device})), name)()


@train.command()
@settings_options
def bundle(settings_file: Path, **changes: Any) -> None:
    """Write the bundle from the working folder."""
    from dispose_stages.training.bundle.small import bundle_size, write_bundle

    settings = _settings(settings_file, changes)
    write_bundle(settings.bundle, settings.folder, highest_sigma=settings.levels.highest)
    say(f"{settings.bundle}: {bundle_size(settings.bundle) / 1e6:.1f} MB")


@train.command()
@click.option("--variant", "variants", multiple=True, help="Measure these only.")
@settings_options
def quality(settings_file: Path, variants: tuple[str, ...], **changes: Any) -> None:
    """Measure the bundle on held-out figures; tables and sheets go to the working folder."""
    from dispose_stages.training.quality import measure

    settings = _settings(settings_file, changes)
    say(measure(settings, variants or None))


@train.command()
@click.option("--sampled", is_flag=True, help="By whole samplings of motley pairs instead.")
@click.option(
    "--write", "document", type=FILE, help="Put the table into its place in this document."
)
@settings_options
def judge(*, sampled: bool, document: Path | None, settings_file: Path, **changes: Any) -> None:
    """Tell whether the bundle's guidance says anything, by single steps on held-out clips.

    What was rendered, encoded and judged before is read from the working folder.
    """
    from dispose_stages.benchmark.document import replace_part
    from dispose_stages.training.judge import judge as judge_steps
    from dispose_stages.training.judge_sampling import judge_sampling

    part, measure = ("sampled", judge_sampling) if sampled else ("judge", judge_steps)
    text = measure(_settings(settings_file, changes))
    say(text)
    if document:
        replace_part(document, part, text)


@train.command()
@click.argument("run_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("store"),
    show_default=True,
    help="Artifacts.",
)
@click.option("--media", type=click.Path(path_type=Path), default=Path(), help="Paths start here.")
@click.option("--models", type=click.Path(path_type=Path), required=True, help="Checkpoints.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Written into.")
@click.option("--steps", type=int, default=10_000, show_default=True, help="Optimiser steps.")
@click.option("--learning-rate", type=float, default=1e-5, show_default=True, help="Peak.")
@click.option("--batch", type=int, default=1, show_default=True, help="Clips per batch.")
@click.option("--accumulate", type=int, default=8, show_default=True, help="Batches per step.")
@click.option("--frames", type=int, default=16, show_default=True, help="Per clip.")
@click.option("--device", default="cuda", show_default=True, help="cuda or cpu.")
@click.option("--workers", type=int, default=4, show_default=True, help="Loading processes.")
@click.option("--fresh", is_flag=True, help="Start from the UNet instead of DisPose.pth.")
def finetune(run_dir: Path, store: Path, media: Path, **options: Any) -> None:
    """Train the ControlNet on the artifacts of RUN_DIR, base frozen; writes DisPose.pth.

    Every reference of the run's manifest is to be a frame of its own driving video.
    """
    from dispose_stages.batch.layout import RunLayout
    from dispose_stages.batch.run_files import read_run_config
    from dispose_stages.training.artifact_clips import ArtifactClips, pairs_of_run
    from dispose_stages.training.finetune import Finetuning
    from dispose_stages.training.loop import Schedule

    names = ("steps", "learning_rate", "accumulate")
    chosen = {name: options.pop(name) for name in names}
    schedule = Schedule(average=0.999, warmup=100, save_every=200, log_every=50, **chosen)
    compute = read_run_config(RunLayout(run_dir)).compute
    pairs = pairs_of_run(run_dir, media)
    clips = ArtifactClips(pairs, store, frames=options.pop("frames"), compute=compute)
    say(f"{len(clips)} pairs")
    say(str(Finetuning(clips, schedule=schedule, **options).run()))


def _settings(path: Path, changes: dict[str, Any]) -> TrainSettings:
    from dispose_stages.training.settings import load_settings

    return load_settings(path, **changes)
