"""``dispose reproduce``: a delivered video made again, and compared."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from dispose_stages.cli.logs import configure_logging
from dispose_stages.cli.options import FILE, FOLDER, config_option, configured, settings_option
from dispose_stages.cli.terminal import say
from dispose_stages.errors import ConfigError

EXIT_DIFFERS = 6
LEAST_PSNR = 30.0


@click.command()
@click.argument("video", type=FILE)
@click.option(
    "--check", is_flag=True, help="Compare with VIDEO and leave nothing; see the exit status."
)
@click.option(
    "--to",
    type=FOLDER,
    default=Path("reproduced"),
    show_default=True,
    help="Folder of the new video; without --check.",
)
@click.option(
    "--media",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A source, or a folder to look for sources by their digest. May be repeated.",
)
@click.option(
    "--least-psnr",
    type=click.FloatRange(min=0),
    default=LEAST_PSNR,
    show_default=True,
    help="Of the worst frame, dB, where the bytes differ.",
)
@config_option
@settings_option
@click.pass_obj
def reproduce(
    obj: dict[str, bool],
    *,
    video: Path,
    check: bool,
    to: Path,
    media: tuple[Path, ...],
    least_psnr: float,
    config_file: Path,
    settings: tuple[str, ...],
) -> None:
    """Make a delivered VIDEO again from what its sidecar says, in a store of its own.

    Needs the media (looked for by their digest: in --media, and where the run beside the video had
    them) and the checkpoints; of the configuration only these and `compute` count. A machine of the
    same kind with the same libraries comes to the same bytes (on CPUs: with as many threads, see
    `compute.threads`). On another one the numbers differ by rounding: then every frame has to reach
    --least-psnr.

    Exit status: 0 the same bytes, or near enough; 6 another video, or another program or weights.
    """
    configure_logging(verbose=obj["verbose"])
    from dispose_stages.batch.reproduce import Likeness, find_media, read_original, rebuild
    from dispose_stages.store.shelf import VideoShelf

    config = configured(config_file, settings)
    original, recipe = read_original(video)
    _check_bundle(original.metadata.get("weights") or config.models.bundle, config.models.bundle)
    found = find_media(video, recipe, media)
    with tempfile.TemporaryDirectory(prefix="dispose-") as folder:
        program = False
        for step, likeness in rebuild(recipe, found, config, Path(folder)):
            say(f"{step.stage:<15} {likeness}")
            program = program or likeness is Likeness.PROGRAM
        again = VideoShelf(Path(folder, "videos")).find(video.stem)
        assert again is not None  # noqa: S101 - its ledger says so
        if program:
            say(f"made with dispose-stages {original.metadata.get('dispose_version') or '?'}")
        near = _compare(video, again.path, least_psnr)
        if not check:
            to.mkdir(parents=True, exist_ok=True)
            for path in (again.path, again.path.with_suffix(".json")):
                shutil.copy2(path, to / path.name)
            say(f"{to / again.path.name}")
    sys.exit(0 if near else EXIT_DIFFERS)


def _check_bundle(made_with: str, configured: str) -> None:
    if made_with != configured:
        raise ConfigError(
            f"the video was made with the bundle {made_with!r}, the configuration has "
            f"{configured!r}; --set models=... names another"
        )


def _compare(video: Path, again: Path, least: float) -> bool:
    """Say how two videos compare; whether they are near enough."""
    from dispose_stages.store.files import file_digest

    if file_digest(video) == file_digest(again):
        say("the same bytes")
        return True
    values = list(_frame_psnr(video, again))
    if not values:
        say("other bytes, and another number or size of frames")
        return False
    worst, mean = min(values), sum(values) / len(values)
    verdict = "near enough" if worst >= least else "another video"
    say(f"other bytes; PSNR {worst:.1f} dB at worst, {mean:.1f} dB in the mean: {verdict}")
    return worst >= least


def _frame_psnr(one: Path, other: Path) -> Iterator[float]:
    """Of every frame, dB; nothing where number or size differ."""
    from dispose_stages.score.similarity import psnr
    from dispose_stages.store.video import VideoReader

    with VideoReader(one) as ours, VideoReader(other) as theirs:
        sizes = ((r.frame_count, r.height, r.width) for r in (ours, theirs))
        if len(set(sizes)) > 1:
            return
        indices = range(ours.frame_count)
        for (_, a), (_, b) in zip(ours.frames(indices), theirs.frames(indices), strict=True):
            yield psnr(a, b)
